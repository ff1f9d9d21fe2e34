-- The host key that each notebook's sshd shows, for people whose clients do not know the host CA.
create table host_keys (
    namespace text not null,            -- the notebook's namespace
    notebook text not null,             -- its name
    line text not null,                 -- type and base64
    primary key (namespace, notebook)
);

-- The processes and what runs in them, for admins to see.
create table parts (
    id text not null,                   -- the process: another one at each start
    part text not null,                 -- operator, webhook, gateway, page
    seen bigint not null,               -- when it last said that it lives
    primary key (id, part)
);
