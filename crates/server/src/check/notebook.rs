//! What keeps people out of one notebook: layer by layer, from its name to sshd's greeting.

use fairlead_model::access::{self, SSHD_PORT};
use fairlead_model::world::{DefaultSsh, Pod, Switch};
use fairlead_model::{Denied, Fact, NotebookId, World, plan};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::{Check, Finding, Level, join, policies};
use crate::greeting::{self, NoGreeting};
use crate::settings::SshDefault;
use crate::watch::chain;

/// The files that sshd needs.
const FILES: [&str; 3] = ["authorized_keys", "ssh_host_ed25519_key", "ssh_host_ed25519_key-cert.pub"];

pub(super) async fn look(check: &Check, facts: &[Fact], id: &NotebookId) -> Vec<Finding> {
    let default_ssh = match check.ssh {
        SshDefault::OptOut => DefaultSsh::OptOut,
        SshDefault::OptIn => DefaultSsh::OptIn,
    };
    let mut world = World::default();
    world.default_ssh = default_ssh;
    facts.iter().cloned().for_each(|fact| world.apply(fact));
    if let Ok(store) = &check.store {
        let rows = [store.key_fact((check.now)()).await, store.switches_fact().await];
        rows.into_iter().flatten().for_each(|fact| world.apply(fact));
    }
    let Some(notebook) = world.notebook(id) else {
        let fix = format!("kubectl get notebooks -n {}", id.namespace);
        return vec![Finding::fail(format!("there is no notebook `{id}`"), fix)];
    };
    let mut findings = vec![Finding::ok(format!("the notebook `{id}` is there: `ssh {}`", id.host(&check.suffix)))];
    findings.extend(look_at_owner(facts, id));
    findings.push(look_at_people(&world, id));
    findings.push(look_at_switch(facts, &world, id));
    if notebook.stopped {
        findings.push(Finding::fail("the notebook is stopped", "start it in the dashboard"));
        return findings;
    }
    let pods: Vec<(&str, &Pod)> = world.pods_of(id).collect();
    findings.push(look_at_pods(facts, &world, id, &pods));
    findings.push(look_at_secret(check, id, &notebook.uid).await);
    if let [(name, pod)] = pods.as_slice() {
        findings.push(look_at_mount(id, name, pod));
        let sshd = look_at_sshd(id, name, pod).await;
        findings.extend(policies::look_at_notebook(check, id, name, sshd.level == Level::Ok).await);
        findings.push(sshd);
    }
    findings
}

fn look_at_owner(facts: &[Fact], id: &NotebookId) -> Vec<Finding> {
    let space = &id.namespace;
    let mut profile = None;
    let mut namespace = None;
    for fact in all(facts) {
        match fact {
            Fact::Profile(name, found) if name == space => profile = found.as_ref(),
            Fact::Namespace(name, found) if name == space => namespace = found.as_ref(),
            _ => {}
        }
    }
    let Some(profile) = profile else {
        let fix = "notebooks outside a profile's namespace are nobody's: kubectl get profiles";
        return vec![Finding::fail(format!("there is no Profile `{space}`"), fix)];
    };
    let owner = profile.owner.as_ref();
    let annotated = namespace.and_then(|namespace| namespace.owner.as_ref());
    if let Some(owner) = owner
        && annotated == Some(owner)
    {
        return vec![Finding::ok(format!("its profile's owner is `{owner}`"))];
    }
    let word = |person: Option<&fairlead_model::Person>| person.map_or("nobody".to_owned(), |who| format!("`{who}`"));
    let what =
        format!("Profile ({}) and namespace ({}) do not agree on the owner: it has none", word(owner), word(annotated));
    let fix = format!(
        "kubectl get profile {space} -o jsonpath='{{.spec.owner}}'; \
         kubectl get namespace {space} -o jsonpath='{{.metadata.annotations.owner}}'"
    );
    vec![Finding::fail(what, fix)]
}

fn look_at_people(world: &World, id: &NotebookId) -> Finding {
    let people = world.people_of(&id.namespace);
    let people: Vec<_> = people.into_iter().filter(|(_, role)| role.opens_shells()).map(|(person, _)| person).collect();
    let keys = people.iter().map(|person| world.keys_of(person).count()).sum::<usize>();
    match (people.len(), keys) {
        (0, _) => Finding::fail("nobody may reach it: its profile has no owner and no contributor who edits", {
            format!("kubectl get rolebindings -n {} -o yaml", id.namespace)
        }),
        (count, 0) => Finding::warn(
            format!("{count} people may reach it, and none of them has a confirmed key"),
            "ssh GATEWAY keys add, or: fairlead-server keys add",
        ),
        (count, keys) => Finding::ok(format!("{count} people with {keys} confirmed keys may reach it")),
    }
}

fn look_at_switch(facts: &[Fact], world: &World, id: &NotebookId) -> Finding {
    let on_namespace = all(facts).any(|fact| match fact {
        Fact::Namespace(name, Some(space)) => *name == id.namespace && space.ssh == Switch::Disabled,
        _ => false,
    });
    let object = if on_namespace { format!("namespace {}", id.namespace) } else { format!("notebook {}", id.name) };
    match access::enabled(world, id) {
        Ok(()) => Finding::ok("SSH is switched on for it"),
        Err(_) if world.is_switched_off(&id.namespace) => Finding::fail(
            format!("an admin of Fairlead switched SSH off in `{}`", id.namespace),
            "switch it on again on Fairlead's page, where it says who did it",
        ),
        Err(denied) => Finding::fail(
            denied.told(),
            if denied == Denied::DisabledByAdmin && !on_namespace {
                format!("kubectl label namespace {} fairlead.dev/ssh=enabled", id.namespace)
            } else {
                format!("kubectl label -n {} {object} fairlead.dev/ssh- (or the annotation)", id.namespace)
            },
        ),
    }
}

fn look_at_pods(facts: &[Fact], world: &World, id: &NotebookId, pods: &[(&str, &Pod)]) -> Finding {
    let space = &id.namespace;
    let events = format!("kubectl describe statefulset,pod -n {space} -l notebook-name={}", id.name);
    let uid = world.notebook(id).map(|notebook| notebook.uid.as_str()).unwrap_or_default();
    match pods {
        [] => {
            let has_set = all(facts).any(|fact| match fact {
                Fact::StatefulSet(_, Some(set)) => set.notebook == uid && set.namespace == *space,
                _ => false,
            });
            let what = if has_set {
                "it has a StatefulSet and no Pod of it (Pods count by owner, not by label)"
            } else {
                "no StatefulSet has it as its controlling owner"
            };
            Finding::fail(what, events)
        }
        [(name, pod)] => match pod.ip {
            Some(ip) if is_refused(world, id) => {
                let what =
                    format!("its Pod `{name}` claims the address {ip}, which is a node's, a Service's or special");
                Finding::fail(what, format!("kubectl get nodes,services -A -o wide | grep -w {ip}"))
            }
            Some(ip) => Finding::ok(format!("its Pod `{name}` has the address {ip}")),
            None => Finding::fail(format!("its Pod `{name}` has no address of its own yet"), events),
        },
        several => {
            let names = join(several.iter().map(|(name, _)| name));
            Finding::fail(format!("several Pods claim to be it: {names}"), "delete the one that is not")
        }
    }
}

/// Whether its Pod's address is none that may be dialled, whoever asks.
fn is_refused(world: &World, id: &NotebookId) -> bool {
    let people = world.people_of(&id.namespace);
    people.keys().any(|person| access::decide(world, person, id) == Err(Denied::BadAddress))
}

async fn look_at_secret(check: &Check, id: &NotebookId, uid: &str) -> Finding {
    let name = plan::secret_name(id);
    let secrets: Api<Secret> = Api::namespaced(check.client.clone(), id.namespace.as_str());
    let log = format!("kubectl logs -n {} deployment/fairlead | grep {id}", check.namespace);
    let secret = match secrets.get_opt(&name).await {
        Ok(Some(secret)) => secret,
        Ok(None) => return Finding::fail(format!("its Secret `{name}` is not there"), log),
        Err(error) => return Finding::fail(format!("reading its Secret `{name}`: {}", chain(&error)), log),
    };
    let owners = secret.metadata.owner_references.as_deref().unwrap_or_default();
    if !owners.iter().any(|owner| owner.uid == uid) {
        let fix = format!("kubectl delete secret -n {} {name}", id.namespace);
        return Finding::fail(format!("the Secret `{name}` is not this notebook's"), fix);
    }
    let data = secret.data.unwrap_or_default();
    let missing: Vec<&str> = FILES.into_iter().filter(|file| !data.contains_key(*file)).collect();
    if !missing.is_empty() {
        return Finding::fail(format!("its Secret `{name}` lacks {}", missing.join(", ")), log);
    }
    let keys = data.get("authorized_keys").map(|text| String::from_utf8_lossy(&text.0).into_owned());
    let keys = keys.unwrap_or_default().lines().filter(|line| !line.starts_with('#')).count();
    if keys == 0 {
        return Finding::warn(
            format!("its Secret `{name}` has no key of anybody"),
            "see switch, people and keys above",
        );
    }
    Finding::ok(format!("its Secret `{name}` has {keys} keys and the host's identity"))
}

fn look_at_mount(id: &NotebookId, name: &str, pod: &Pod) -> Finding {
    if plan::is_mounted(id, pod) {
        return Finding::ok(format!("the Secret is mounted in `{name}`"));
    }
    Finding::fail(
        format!("the Secret is not mounted in `{name}`: it was made before Fairlead, or while its webhook was away"),
        "stop the notebook and start it again in the dashboard",
    )
}

async fn look_at_sshd(id: &NotebookId, name: &str, pod: &Pod) -> Finding {
    let Some(ip) = pod.ip else { return Finding::warn("sshd cannot be dialled without an address", "wait") };
    let address = std::net::SocketAddr::new(ip, SSHD_PORT);
    let space = &id.namespace;
    let sshd = format!("kubectl logs -n {space} {name} -c {}", id.name);
    let (layer, fix) = match greeting::read(address).await {
        Ok(()) => return Finding::ok(format!("sshd greets at {address}")),
        Err(error @ NoGreeting::Refused) => (format!("sshd: {error}; the image has none, or it ended"), sshd),
        Err(error @ NoGreeting::Silent) => {
            (format!("network: {error}"), format!("kubectl describe networkpolicy -n {space}"))
        }
        Err(error @ NoGreeting::Closed) => (
            format!("mesh: {error}"),
            format!(
                "kubectl logs -n {space} {name} -c istio-proxy --tail 20; \
                 kubectl get authorizationpolicies,peerauthentications -n {space}"
            ),
        ),
        Err(error @ NoGreeting::Other) => (format!("container: {error}"), sshd),
        Err(NoGreeting::Io(error)) => {
            (format!("network: {error}"), "run this where Pods can be reached: in Fairlead's own Pod".to_owned())
        }
    };
    Finding::fail(format!("no greeting from {address}; {layer}"), fix)
}

/// The facts in the lists.
fn all(facts: &[Fact]) -> impl Iterator<Item = &Fact> {
    facts.iter().flat_map(|fact| match fact {
        Fact::All(_, list) => list.as_slice(),
        one => std::slice::from_ref(one),
    })
}
