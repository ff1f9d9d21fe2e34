-- What the database as a whole belongs to.
create table meta (
    name text not null primary key,     -- authority: the public line of the host CA that people's clients trust
    value text not null
);
