//! Whose a mount is: claimed, assigned, given up.
//!
//! Contract: nobody takes a mount that something else has or feeds. Being in the general list of mounts makes a mount
//! nobody's but the superadmins'.

use config::{Config, MountName, Role, User};

use crate::caller::Account;
use crate::rule_error::{Kind, RuleError};

/// Why a mount is not made, changed or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// This account may not make mounts.
    #[error("Forbidden")]
    Forbidden,
    /// Something or somebody else has it.
    #[error("Mount taken")]
    Taken,
    /// The account has it already; change it instead.
    #[error("Mount already exists")]
    Exists,
    /// There is no such mount.
    #[error("Mount not found")]
    NotFound,
    /// It could not be asked for, or something else is found under it.
    #[error("A mount name has no ? and no #, no .. and no ending /video, .m3u, .m3u8, .pls or .xspf")]
    BadName,
}

impl RuleError for MountError {
    fn kind(&self) -> Kind {
        match self {
            MountError::Forbidden => Kind::Forbidden,
            MountError::Taken | MountError::Exists => Kind::Conflict,
            MountError::NotFound => Kind::Missing,
            MountError::BadName => Kind::Bad,
        }
    }
}

/// What has a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The general list.
    Everybody,
    /// An account.
    User,
    /// A player.
    AutoDj,
    /// A pull from another server.
    Relay,
    /// The output of a transcoder.
    TranscoderOutput,
    /// The input of a transcoder.
    TranscoderInput,
    /// Settings of its own.
    Settings,
}

/// What has a mount, the strongest claim first; `None` if it is free.
#[must_use]
pub fn holder(config: &Config, mount: &MountName) -> Option<Holder> {
    let transcoded = |output: bool| {
        config.transcoders.iter().any(|transcoder| match output {
            true => transcoder.output_mount == *mount,
            false => transcoder.input_mount == *mount,
        })
    };
    [
        (owners(config, mount).next().is_some(), Holder::User),
        (config.mounts.contains_key(mount), Holder::Everybody),
        (
            config.autodjs.iter().any(|autodj| autodj.mount == *mount),
            Holder::AutoDj,
        ),
        (
            config.relays.iter().any(|relay| relay.mount == *mount),
            Holder::Relay,
        ),
        (transcoded(true), Holder::TranscoderOutput),
        (transcoded(false), Holder::TranscoderInput),
        (config.advanced_mounts.contains_key(mount), Holder::Settings),
    ]
    .into_iter()
    .find(|(has, _)| *has)
    .map(|(_, holder)| holder)
}

/// The accounts that own a mount, in the order of their names.
pub fn owners<'a>(config: &'a Config, mount: &MountName) -> impl Iterator<Item = &'a str> {
    let owns = |user: &User| user.mounts.contains_key(mount);
    config
        .users
        .iter()
        .filter(move |(_, user)| owns(user))
        .map(|(name, _)| name.as_str())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Makes a mount: for a superadmin in the general list, for an admin among its own. Djs operate what they are given.
///
/// # Errors
/// See [`MountError`]; nothing has changed then.
pub fn claim_mount(
    config: &mut Config,
    account: &Account,
    mount: &MountName,
    password_hash: String,
) -> Result<(), MountError> {
    if !is_fit(mount.as_str()) {
        return Err(MountError::BadName);
    }
    let allowed = match account.role {
        Role::Superadmin => true,
        Role::Admin => config.admins_claim_mounts,
        Role::Dj => false,
    };
    if !allowed {
        return Err(MountError::Forbidden);
    }
    match (holder(config, mount), account.is_superadmin()) {
        (None, _) => {}
        (Some(Holder::Everybody | Holder::User), true) => return Err(MountError::Exists),
        // Settings and transcoders may be prepared before their mount is made.
        (Some(Holder::TranscoderInput | Holder::Settings), true) => {}
        (Some(Holder::User), false) if account.mounts.contains(mount) => return Err(MountError::Exists),
        (Some(_), _) => return Err(MountError::Taken),
    }
    if account.is_superadmin() {
        config.mounts.insert(mount.clone(), password_hash);
        return Ok(());
    }
    let user = config.users.get_mut(&account.name).ok_or(MountError::Forbidden)?;
    user.mounts.insert(mount.clone(), password_hash);
    Ok(())
}

/// Whether a new mount may have this name. Old ones keep theirs: encoders and players know them.
fn is_fit(name: &str) -> bool {
    let has_ending = ["/video", ".m3u", ".m3u8", ".pls", ".xspf"]
        .iter()
        .any(|ending| name.ends_with(ending));
    !has_ending && !name.contains(['?', '#']) && !name.split('/').any(|part| part == "..")
}

/// Gives a mount a new source password: for an owner its own; for a superadmin that of everybody who has one, so that
/// no older password goes on opening it. Whether the account may is for [`permits`](crate::permits) to say.
///
/// # Errors
/// [`MountError::NotFound`]; nothing has changed then.
pub fn set_mount_password(
    config: &mut Config,
    account: &Account,
    mount: &MountName,
    password_hash: &str,
) -> Result<(), MountError> {
    if !account.is_superadmin() {
        let own = config
            .users
            .get_mut(&account.name)
            .and_then(|user| user.mounts.get_mut(mount));
        password_hash.clone_into(own.ok_or(MountError::NotFound)?);
        return Ok(());
    }
    let mut found = false;
    let of_users = config
        .users
        .values_mut()
        .filter_map(|user| user.mounts.get_mut(mount));
    let of_settings = config
        .advanced_mounts
        .get_mut(mount)
        .map(|settings| &mut settings.password);
    // An empty one opens nothing and hides nothing; it stays so as long as there is another.
    for hash in of_users.chain(of_settings).filter(|hash| !hash.is_empty()) {
        password_hash.clone_into(hash);
        found = true;
    }
    if let Some(hash) = config.mounts.get_mut(mount) {
        password_hash.clone_into(hash);
        found = true;
    }
    if found {
        return Ok(());
    }
    let without = config
        .users
        .values_mut()
        .filter_map(|user| user.mounts.get_mut(mount));
    for hash in without {
        password_hash.clone_into(hash);
        found = true;
    }
    if !found && let Some(settings) = config.advanced_mounts.get_mut(mount) {
        password_hash.clone_into(&mut settings.password);
        found = true;
    }
    if found { Ok(()) } else { Err(MountError::NotFound) }
}

/// Deletes a mount with all its settings, whoever has it. What feeds it (relays, players, transcoders) stays.
///
/// # Errors
/// [`MountError::NotFound`]; nothing has changed then.
pub fn delete_mount(config: &mut Config, mount: &MountName) -> Result<(), MountError> {
    let mut found = false;
    for user in config.users.values_mut() {
        found |= user.mounts.remove(mount).is_some();
    }
    found |= config.mounts.remove(mount).is_some();
    found |= config.advanced_mounts.remove(mount).is_some();
    if !found {
        return Err(MountError::NotFound);
    }
    config.disabled_mounts.remove(mount);
    config.visible_mounts.remove(mount);
    config
        .fallback_mounts
        .retain(|from, to| from != mount && to != mount);
    config.variant_groups.remove(mount);
    for group in config.variant_groups.values_mut() {
        group.retain(|member| member != mount);
    }
    // A token for this mount alone must not reach a later one of the same name; an empty list reaches none.
    for mounts in config
        .api_tokens
        .iter_mut()
        .filter_map(|token| token.mounts.as_mut())
    {
        mounts.retain(|other| other != mount);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::ApiToken;
    use std::path::Path;

    const HASH: &str = "$2a$04$nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
    const OLD: &str = "$2a$04$ooooooooooooooooooooooooooooooooooooooooooooooooooooo";

    fn mount(name: &str) -> MountName {
        MountName::parse(name).unwrap()
    }

    fn config(more: &str) -> Config {
        let file = r#"{
            "mounts": {"/live": "OLD", "/given": "OLD"},
            "advanced_mounts": {"/adv": {"password": "OLD"}, "/set": {"burst_size": 5}},
            "relays": [{"url": "http://a/b", "mount": "/relay"}],
            "autodjs": [{"name": "a", "mount": "/dj"}],
            "transcoders": [{"name": "t", "input_mount": "/in", "output_mount": "/out"}],
            "visible_mounts": {"/live": true, "/own": true}, "disabled_mounts": {"/own": true},
            "fallback_mounts": {"/own": "/live", "/live": "/own", "/a": "/b"},
            "variant_groups": {"/own": ["/own", "/live"], "/live": ["/live", "/own"]},
            "users": {
                "root": {"role": "superadmin"}, "sue": {"role": "superadmin"},
                "ann": {"role": "admin", "mounts": {"/own": "OLD", "/both": "OLD", "/given": "", "/none": ""}},
                "bob": {"role": "admin", "mounts": {"/both": "OLD"}}, "dan": {"role": "dj", "mounts": {"/djs": "OLD"}}
            }"#;
        let file = format!("{file}{more}}}").replace("OLD", OLD);
        let loaded = config::Loaded::parse(Path::new("t.json"), file.into_bytes()).unwrap();
        Config::clone(&loaded.config)
    }

    fn account(config: &Config, name: &str) -> Account {
        Account::of(config, name).unwrap()
    }

    #[test]
    fn nobody_takes_what_something_else_has() {
        let (ok, taken, exists, no) = ("ok", "Mount taken", "Mount already exists", "Forbidden");
        for (name, who) in [
            ("/new", [ok, ok, no]),
            ("/live", [exists, taken, no]),
            ("/own", [exists, exists, no]),
            ("/djs", [exists, taken, no]),
            ("/dj", [taken, taken, no]),
            ("/relay", [taken, taken, no]),
            ("/out", [taken, taken, no]),
            ("/in", [ok, taken, no]),
            ("/adv", [ok, taken, no]),
            ("/set", [ok, taken, no]),
        ] {
            for (user, expected) in ["root", "ann", "dan"].into_iter().zip(who) {
                let mut config = config("");
                let before = config.clone();
                let account = account(&config, user);
                let seen = claim_mount(&mut config, &account, &mount(name), HASH.into());
                let seen = seen.map_or_else(|error| error.to_string(), |()| ok.to_owned());
                assert_eq!(seen, expected, "{user} claims {name}");
                match (seen.as_str(), user) {
                    ("ok", "root") => assert_eq!(config.mounts[&mount(name)], HASH),
                    ("ok", _) => {
                        assert_eq!(config.users[user].mounts[&mount(name)], HASH);
                        assert_eq!(config.mounts, before.mounts);
                    }
                    _ => assert_eq!(config, before),
                }
            }
        }
    }

    #[test]
    fn admins_make_mounts_only_where_they_may() {
        let mut config = config(r#", "admins_claim_mounts": false"#);
        for (user, expected) in [("ann", Err(MountError::Forbidden)), ("root", Ok(()))] {
            let account = account(&config, user);
            assert_eq!(
                claim_mount(&mut config, &account, &mount("/new"), HASH.into()),
                expected,
                "{user}"
            );
        }
    }

    /// Where the new password stands after a change, as `user/mount`, `mounts/mount` or `advanced/mount`.
    fn check(user: &str, name: &str, expected: &str) {
        let mut config = config("");
        let account = account(&config, user);
        let seen = match set_mount_password(&mut config, &account, &mount(name), HASH) {
            Ok(()) => {
                let of_users = config.users.iter().flat_map(|(user, record)| {
                    record
                        .mounts
                        .iter()
                        .map(move |(mount, hash)| (user.as_str(), mount, hash))
                });
                let general = config.mounts.iter().map(|(mount, hash)| ("mounts", mount, hash));
                let advanced = config
                    .advanced_mounts
                    .iter()
                    .map(|(mount, settings)| ("advanced", mount, &settings.password));
                let places = of_users.chain(general).chain(advanced);
                let new: Vec<_> = places
                    .filter(|(_, _, hash)| *hash == HASH)
                    .map(|(place, mount, _)| format!("{place}{mount}"))
                    .collect();
                let opens = crate::source::source_hashes(&config, &mount(name));
                assert!(opens.iter().any(|hash| hash == HASH), "{user} {name}");
                new.join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(seen, expected, "{user} changes {name}");
    }

    #[test]
    fn a_new_password_replaces_the_old_one() {
        check("ann", "/own", "ann/own");
        check("ann", "/both", "ann/both");
        check("ann", "/given", "ann/given");
        check("ann", "/live", "Mount not found");
        check("root", "/own", "ann/own");
        check("root", "/both", "ann/both bob/both");
        check("root", "/given", "mounts/given");
        check("root", "/none", "ann/none");
        check("root", "/live", "mounts/live");
        check("root", "/adv", "advanced/adv");
        check("root", "/set", "advanced/set");
        check("root", "/nothing", "Mount not found");
    }

    #[test]
    fn a_deleted_mount_leaves_nothing_behind() {
        let mut config = config("");
        let mut token = ApiToken::new("t".into(), String::new());
        token.mounts = Some(vec![mount("/own")]);
        config.api_tokens.push(token);
        delete_mount(&mut config, &mount("/own")).unwrap();
        delete_mount(&mut config, &mount("/both")).unwrap();
        delete_mount(&mut config, &mount("/set")).unwrap();
        assert_eq!(config.api_tokens[0].mounts.as_deref(), Some(&[][..]));
        let text = config.to_value().to_string();
        assert!(
            !text.contains("/own") && !text.contains("/both") && !text.contains("/set"),
            "{text}"
        );
        assert_eq!(config.fallback_mounts.len(), 1);
        let before = config.clone();
        for name in ["/own", "/nothing", "/relay"] {
            assert_eq!(
                delete_mount(&mut config, &mount(name)),
                Err(MountError::NotFound),
                "{name}"
            );
        }
        assert_eq!(config, before);
    }

    #[test]
    fn owners_are_named_in_order() {
        let config = config("");
        for (name, expected, has) in [
            ("/both", "ann bob", Some(Holder::User)),
            ("/given", "ann", Some(Holder::User)),
            ("/live", "", Some(Holder::Everybody)),
            ("/free", "", None),
        ] {
            assert_eq!(
                owners(&config, &mount(name)).collect::<Vec<_>>().join(" "),
                expected
            );
            assert_eq!(holder(&config, &mount(name)), has, "{name}");
        }
    }
}
