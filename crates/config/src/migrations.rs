//! Old forms of the file brought to the present one, in memory.
//!
//! Contract: applying twice changes nothing; nothing reaches the disk before the next save.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{records::User, settings::Config, values::Role};

/// Says whether anything changed.
pub(crate) fn apply(config: &mut Config) -> bool {
    let before = config.clone();
    if !config.admin_password.is_empty() {
        if config.users.is_empty() {
            let (name, hash) = (config.admin_user.clone(), config.admin_password.clone());
            config
                .users
                .insert(name.clone(), User::new(name, hash, Role::Superadmin));
        }
        config.setup_complete = true;
    }
    if config.setup_complete {
        drop_unusable_admin(config);
    }
    for (index, webhook) in config.webhooks.iter_mut().enumerate() {
        if webhook.id.is_empty() {
            // The same file gives the same id, so that a reload before the first save sees no change.
            let mut hasher = DefaultHasher::new();
            (index, &webhook.url, &webhook.name).hash(&mut hasher);
            webhook.id = format!("wh_{:012x}", hasher.finish() >> 16);
        }
    }
    *config != before
}

/// Fresh starts of old versions left a superadmin nobody can log in as; beside a real one it goes.
fn drop_unusable_admin(config: &mut Config) {
    let name = &config.admin_user;
    let unusable = |user: &User| {
        user.password.is_empty()
            && user.passkeys.is_empty()
            && user.linked_emails.is_empty()
            && user.role == Role::Superadmin
    };
    let another = config
        .users
        .iter()
        .any(|(other, user)| other != name && user.role == Role::Superadmin);
    if another && config.users.get(name).is_some_and(unusable) {
        let name = name.clone();
        config.users.remove(&name);
    }
}
