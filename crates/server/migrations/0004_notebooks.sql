-- What is wrong with notebooks beyond what their objects show, as the operator found it.
create table troubles (
    namespace text not null,            -- the notebook's namespace
    notebook text not null,             -- the notebook's name
    reason text not null,               -- no-sshd, secret-taken, secret-leftover, secret-frozen
    since bigint not null,              -- when it was found first
    primary key (namespace, notebook, reason)
);

-- Where an admin of Fairlead switched SSH off.
create table switches (
    namespace text not null primary key, -- the profile's namespace
    person text not null,               -- the admin
    at bigint not null                  -- when
);

-- What people asked the operator to do.
create table asks (
    id text not null primary key,       -- 32 hexadecimal digits at random
    kind text not null,                 -- start or stop
    namespace text not null,            -- the notebook's namespace
    notebook text not null,             -- the notebook's name
    person text not null,               -- who asks; whether they may is decided again by who carries it out
    asked bigint not null,              -- when
    done bigint,                        -- when it was answered; null while it is open
    outcome text                        -- done, denied: WORD, expired, error: …; null while it is open
);

create index asks_open on asks (asked) where done is null;
create index asks_by_done on asks (done);
