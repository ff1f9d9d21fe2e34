-- More topics that processes wait for a change of.
insert into revisions (name, revision) values ('notebooks', 0), ('asks', 0);
