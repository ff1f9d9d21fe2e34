//! Where SSH is on: an admin's switch on Fairlead's page, the one on the namespace, the one on the notebook.

use fairlead_model::access;
use fairlead_model::plan;
use fairlead_model::world::DefaultSsh;
use serde_json::json;

use crate::cluster::{Cluster, id, namespace, notebook};
use crate::matrix::word;

#[test]
fn the_admins_switch_wins_over_the_users() {
    let on = "owner";
    let (by_admin, by_user) = ("disabled-by-admin", "disabled-by-user");
    let (none, yes, no, odd) = (
        json!({}),
        json!({"fairlead.dev/ssh": "enabled"}),
        json!({"fairlead.dev/ssh": "disabled"}),
        json!({"fairlead.dev/ssh": "maybe"}),
    );
    for (default, space, notebook_has, expected) in [
        (DefaultSsh::OptOut, &none, &none, on),
        (DefaultSsh::OptOut, &none, &no, by_user),
        (DefaultSsh::OptOut, &no, &yes, by_admin),
        (DefaultSsh::OptOut, &yes, &no, by_user),
        (DefaultSsh::OptOut, &odd, &none, by_admin),
        (DefaultSsh::OptOut, &none, &odd, by_user),
        (DefaultSsh::OptIn, &none, &none, by_admin),
        (DefaultSsh::OptIn, &yes, &none, on),
        (DefaultSsh::OptIn, &none, &yes, on),
        (DefaultSsh::OptIn, &yes, &no, by_user),
        (DefaultSsh::OptIn, &no, &yes, by_admin),
    ] {
        let mut cluster = Cluster::default();
        cluster.world.default_ssh = default;
        cluster.profile("team-a", "alice").notebook("team-a", "ml", "10.1.0.1").key("alice", 1);
        cluster.see(&namespace("team-a", "alice", space)).see(&notebook("team-a", "ml", notebook_has));
        assert_eq!(word(&cluster, "alice", "team-a", "ml"), expected, "{default:?} {space} {notebook_has}");
        let reached = access::reach(&cluster.world, &id("team-a", "ml")).len();
        assert_eq!(reached, usize::from(expected == on), "{default:?} {space} {notebook_has}");
    }
}

#[test]
fn where_an_admin_of_fairlead_switched_ssh_off_no_other_switch_turns_it_on() {
    let yes = json!({"fairlead.dev/ssh": "enabled"});
    for default in [DefaultSsh::OptOut, DefaultSsh::OptIn] {
        let mut cluster = Cluster::default();
        cluster.world.default_ssh = default;
        cluster.profile("team-a", "alice").notebook("team-a", "ml", "10.1.0.1").key("alice", 1);
        cluster.see(&namespace("team-a", "alice", &yes)).see(&notebook("team-a", "ml", &yes));
        let target = id("team-a", "ml");
        for (off, expected, keys) in
            [(&["team-b"][..], "owner", 1), (&["team-a"], "disabled-by-admin", 0), (&[], "owner", 1)]
        {
            cluster.switched_off(off);
            assert_eq!(word(&cluster, "alice", "team-a", "ml"), expected, "{off:?}");
            let written = plan::authorized_keys(&cluster.world, &target);
            assert_eq!(written.matches("ssh-ed25519").count(), keys, "{off:?}");
        }
    }
}
