-- Keys that end, keys that an older one has to approve, and what pages show of both.
alter table keys add column ends bigint;                     -- when the key stops counting; null for never
alter table keys add column used bigint;                     -- its last session or sign-in, where there was one
alter table keys add column proved bigint;                   -- when a claimed key signed by itself; null until then
-- Whether an older key has to approve a claim: 0 no, or it has; 1 as soon as the person has a confirmed key; 2 yes.
alter table keys add column older bigint not null default 0;

-- The newest session of each notebook: for lists, which would otherwise look through all sessions.
create table last_sessions (
    namespace text not null,                                 -- the notebook's namespace
    notebook text not null,                                  -- the notebook's name
    person text not null,                                    -- who began it
    began bigint not null,                                   -- when
    primary key (namespace, notebook)
);

insert into last_sessions (namespace, notebook, person, began)
    select namespace, notebook, max(person), began from sessions
    where began = (select max(began) from sessions s
        where s.namespace = sessions.namespace and s.notebook = sessions.notebook)
    group by namespace, notebook, began;

create index sessions_by_notebook on sessions (namespace, notebook, began);

alter table sessions add column end_asked bigint;            -- when somebody asked for its end
alter table sessions add column end_asked_by text;           -- who did so first
