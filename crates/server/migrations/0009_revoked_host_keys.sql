-- Host keys that notebooks had before: somebody who left could read them, and their certificates are valid for a while.
-- Clients of who may reach such a notebook are told to refuse them.
create table revoked_host_keys (
    namespace text not null,            -- the notebook's namespace
    notebook text not null,             -- its name
    line text not null,                 -- the public key's type and base64
    until bigint not null,              -- when the last certificate for it has ended
    primary key (namespace, notebook, line)
);
