-- The first tables. One text for SQLite and PostgreSQL: `text` and `bigint` only; times are Unix milliseconds.

-- Public keys: one row a person and key, so that several people may claim the same one.
create table keys (
    person text not null,               -- the Kubeflow user id, its case as Kubeflow has it
    fingerprint text not null,          -- SHA256:… as OpenSSH prints it
    line text not null,                 -- type and base64
    comment text not null,              -- what the key came with, cleaned; may be empty
    added bigint not null,              -- when it was claimed, or added by an admin
    confirmed bigint,                   -- when its holder proved it; null while it is only claimed
    code_hash text,                     -- SHA-256 of the fingerprint and the claim's code; null once confirmed
    expires bigint,                     -- when the claim ends; null once confirmed
    primary key (person, fingerprint)
);

-- One confirmed key is one person.
create unique index keys_confirmed on keys (fingerprint) where confirmed is not null;

-- What grows by one with every change of a table, so that other processes see it by reading one row. Whoever changes
-- that table changes this row first and so waits for whoever else does.
create table revisions (
    name text not null primary key,     -- of the table: keys
    revision bigint not null            -- how often it was changed
);

insert into revisions (name, revision) values ('keys', 0);

-- Who was in which notebook.
create table sessions (
    id text not null primary key,       -- 32 hexadecimal digits at random
    gateway text not null,              -- the process that carried it: gateways.id
    person text not null,               -- who
    fingerprint text not null,          -- with which key
    namespace text not null,            -- the notebook's namespace
    notebook text not null,             -- the notebook's name
    pod text not null,                  -- the UID of its Pod
    way text not null,                  -- jump
    client_address text not null,       -- the client's address and port
    client_version text not null,       -- the client's version string, cleaned
    began bigint not null,              -- when it began
    ended bigint,                       -- when it ended; null while it is open
    bytes_up bigint not null,           -- from the client to the notebook; known at the end
    bytes_down bigint not null,         -- from the notebook to the client; known at the end
    reason text                         -- why it ended: closed, denied: WORD, key-removed, drained, lost, error: …
);

create index sessions_by_time on sessions (began);
create index sessions_by_person on sessions (person, began);
create index sessions_open on sessions (gateway) where ended is null;

-- The processes that carry sessions. One that is silent for a minute has lost them.
create table gateways (
    id text not null primary key,       -- another one at each start
    seen bigint not null                -- when it last said that it lives
);

-- The audit trail.
create table audit (
    id text not null primary key,       -- made by the writer: the same event is written once, however often it tries
    at bigint not null,                 -- when it happened
    event text not null,                -- key-added, key-confirmed, key-removed, sign-in-refused, target-refused, …
    person text,                        -- who did it or was refused, where that is known
    client_address text,                -- the client's address, where there is one
    object text,                        -- to what: a notebook, a fingerprint
    detail text                         -- the reason or whatever else belongs to it
);

create index audit_by_time on audit (at, id);

-- How often each profile's host keys were changed.
create table epochs (
    namespace text not null primary key, -- the profile's namespace
    epoch bigint not null               -- grows by one when somebody leaves who could read its Secrets
);

-- Who could read a profile's Secrets when that was last noted.
create table readers (
    namespace text not null,            -- the profile's namespace
    person text not null,               -- a reader
    primary key (namespace, person)
);

-- The last picture of the cluster: one row.
create table picture (
    id bigint not null primary key,     -- 1
    at bigint not null,                 -- when it was taken
    json text not null                  -- the picture
);
