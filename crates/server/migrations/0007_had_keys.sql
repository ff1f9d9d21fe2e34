-- Who has ever had a confirmed key, also when all are gone: where notebooks share the page's origin, a script in one
-- could else have the last one removed and claim its own as a first.
create table had_keys (
    person text not null primary key,   -- the Kubeflow user id
    since bigint not null               -- when the first that is known of was confirmed
);

insert into had_keys (person, since)
    select person, min(confirmed) from keys where confirmed is not null group by person;
