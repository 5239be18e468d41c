//! What one key alone cannot tell: loops, missing partners, assumptions.
//!
//! Contract: only warnings; a file that passes the codecs is usable.

use std::collections::BTreeSet;

use crate::{
    json::{Kind, Node},
    mount_name::MountName,
    problem::Notes,
    settings::Config,
    values::{Role, web_address},
};

/// A listener follows at most so many fallbacks.
pub const FALLBACK_HOPS: usize = 10;

/// Makes keys agree that say the same thing twice.
pub(crate) fn settle(config: &mut Config, root: &Node, notes: &mut Notes<'_>) {
    for (name, user) in &mut config.users {
        if !user.username.is_empty() && user.username != *name {
            let at = find(root, &["users", name, "username"]);
            let what = format!("differs from the key, {name:?} is used");
            notes.warn(
                at,
                format_args!("users.{name}.username"),
                what,
                "make both the same",
            );
        }
        user.username.clone_from(name);
    }
    if config.auto_https && !config.use_https {
        let at = find(root, &["auto_https"]);
        notes.warn(
            at,
            "auto_https",
            "use_https was assumed",
            "set \"use_https\": true",
        );
        config.use_https = true;
    }
}

/// Notes what does not fit together.
pub(crate) fn check(config: &Config, root: &Node, notes: &mut Notes<'_>) {
    fallbacks(config, root, notes);
    https(config, root, notes);
    relays(config, root, notes);
    for (primary, group) in &config.variant_groups {
        if !group.contains(primary) {
            let at = find(root, &["variant_groups", primary.as_str()]);
            let key = format_args!("variant_groups.{primary}");
            notes.warn(
                at,
                key,
                "the primary is not in its own list",
                format!("add {primary:?} to the list"),
            );
        }
    }
    let mut outputs = BTreeSet::new();
    for transcoder in &config.transcoders {
        let problem = if transcoder.input_mount == transcoder.output_mount {
            "input_mount and output_mount are the same"
        } else if !outputs.insert(&transcoder.output_mount) {
            "another transcoder has the same output_mount"
        } else {
            continue;
        };
        let key = format_args!("transcoders ({})", transcoder.name);
        notes.warn(
            find(root, &["transcoders"]),
            key,
            problem,
            "give it an output of its own",
        );
    }
    let someone = config.users.values().any(|user| user.role == Role::Superadmin);
    if config.setup_complete && !someone && config.admin_password.is_empty() {
        let fix = "run `tinyice -force-setup`, or give a user the role superadmin";
        notes.warn(find(root, &["users"]), "users", "nobody is superadmin", fix);
    }
}

/// Where a listener of a mount goes while sources are away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallbackWay {
    /// The mounts in order, each once, at most [`FALLBACK_HOPS`] and without the first.
    pub mounts: Vec<MountName>,
    /// The mount at which the way was cut, because it had been there or was too far.
    pub cut_at: Option<MountName>,
}

/// Follows the fallbacks of a mount.
#[must_use]
pub fn follow_fallbacks(config: &Config, mount: &MountName) -> FallbackWay {
    let mut mounts: Vec<MountName> = Vec::new();
    let mut at = mount;
    while let Some(next) = config.fallback_mounts.get(at) {
        if next == mount || mounts.contains(next) || mounts.len() >= FALLBACK_HOPS {
            return FallbackWay {
                mounts,
                cut_at: Some(next.clone()),
            };
        }
        mounts.push(next.clone());
        at = next;
    }
    FallbackWay { mounts, cut_at: None }
}

fn fallbacks(config: &Config, root: &Node, notes: &mut Notes<'_>) {
    for mount in config.fallback_mounts.keys() {
        let way = follow_fallbacks(config, mount);
        let Some(cut_at) = way.cut_at else { continue };
        let at = find(root, &["fallback_mounts", mount.as_str()]);
        let key = format_args!("fallback_mounts.{mount}");
        if cut_at != *mount && !way.mounts.contains(&cut_at) {
            let what = format!("the chain is longer than {FALLBACK_HOPS} mounts; the rest is not followed");
            notes.warn(at, key, what, "shorten it");
            continue;
        }
        let all: Vec<&str> = [mount]
            .into_iter()
            .chain(&way.mounts)
            .chain([&cut_at])
            .map(MountName::as_str)
            .collect();
        let last = way.mounts.last().unwrap_or(mount);
        let what = format!("the fallbacks form a loop: {}", all.join(" → "));
        notes.warn(at, key, what, format!("remove the fallback of {last}"));
    }
}

fn https(config: &Config, root: &Node, notes: &mut Notes<'_>) {
    if !config.use_https {
        return;
    }
    let at = find(root, &["use_https"]);
    if config.auto_https {
        if config.domains.is_empty() {
            let what = "no domain is listed, so no certificate can be requested";
            notes.warn(
                find(root, &["auto_https"]),
                "domains",
                what,
                "list the public names in domains",
            );
        }
    } else if config.cert_file.is_empty() || config.key_file.is_empty() {
        let fix = "set cert_file and key_file, or auto_https and domains";
        notes.warn(at, "use_https", "there is no certificate", fix);
    }
    if config.port == config.https_port {
        notes.warn(
            at,
            "https_port",
            "the same port as port",
            "give HTTPS a port of its own",
        );
    }
}

fn relays(config: &Config, root: &Node, notes: &mut Notes<'_>) {
    let mut mounts = BTreeSet::new();
    for relay in &config.relays {
        let at = find(root, &["relays"]);
        if let Err(fix) = web_address(&relay.url) {
            notes.warn(
                at,
                format_args!("relays ({})", relay.mount),
                "the url cannot be pulled",
                fix,
            );
        }
        if !mounts.insert(&relay.mount) {
            let key = format_args!("relays ({})", relay.mount);
            notes.warn(
                at,
                key,
                "two relays feed the same mount",
                "remove one or give it another mount",
            );
        }
    }
}

/// Where a value stands, or its nearest parent.
fn find(root: &Node, keys: &[&str]) -> usize {
    let mut node = root;
    let mut at = root.at;
    for key in keys {
        let Kind::Object(_) = node.kind else { break };
        let Some(member) = node.member(key) else { break };
        at = member.at;
        node = &member.value;
    }
    at
}
