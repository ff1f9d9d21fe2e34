-- Sessions of a profile, newest first.
create index sessions_by_namespace on sessions (namespace, began);
-- Open ones, newest first.
create index sessions_open_by_time on sessions (began, id) where ended is null;
