//! What a handler knows of the request that it answers, and the ways in which it touches the server.
//!
//! Contract: the name of a mount in a request becomes a [`MountName`] here and nowhere else, so that no handler can
//! forget to ask whether it is the caller's; and a change of the configuration goes through [`Call::change`], which
//! keeps the disk away from the runtime.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use auth::{Action, Caller};
use config::{Config, MountName};
use store::AuditAction;

use super::{Answer, Documents, Table, refusal::Refusal};
use crate::{Parts, events::Feeds};

/// One request whose caller has been let through.
pub(crate) struct Call {
    pub(crate) parts: Arc<Parts>,
    pub(crate) feeds: Arc<Feeds>,
    pub(super) table: Arc<Table>,
    pub(super) documents: Arc<OnceLock<Documents>>,
    pub(crate) request: front::Request,
    /// What the names in the path stand for.
    pub(crate) names: Vec<String>,
    pub(crate) action: Action,
    /// Nobody, on public endpoints.
    pub(crate) who: Option<Caller>,
}

impl Call {
    /// The documentation.
    pub(crate) fn documents(&self) -> &Documents {
        self.documents.get_or_init(|| Documents::new(&self.table))
    }

    /// Who asks.
    ///
    /// # Errors
    /// 401 where nobody signed in, which only public endpoints meet.
    pub(crate) fn caller(&self) -> Answer<&Caller> {
        self.who.as_ref().ok_or_else(Refusal::unauthorized)
    }

    /// The name of the account that asks, or `system`.
    pub(crate) fn user(&self) -> &str {
        self.who.as_ref().map_or("system", |caller| &caller.account.name)
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.parts.config.load_full()
    }

    /// Where the request came from.
    pub(crate) fn ip(&self) -> IpAddr {
        self.request.client
    }

    /// The database.
    ///
    /// # Errors
    /// 503 where there is none.
    pub(crate) fn store(&self) -> Answer<&store::Store> {
        self.parts
            .store
            .as_ref()
            .ok_or_else(|| Refusal::unavailable("History disabled"))
    }

    /// Whether the caller may do what this endpoint does to that mount.
    pub(crate) fn may(&self, mount: &MountName) -> bool {
        self.may_do(self.action, mount)
    }

    /// Whether the caller may do something else to that mount.
    pub(crate) fn may_do(&self, action: Action, mount: &MountName) -> bool {
        self.who
            .as_ref()
            .is_some_and(|caller| auth::permits(caller, action, Some(mount)))
    }

    /// The mount that a request names; a missing slash is added.
    ///
    /// # Errors
    /// 400 when it cannot be one, 403 when it is not the caller's.
    pub(crate) fn mount(&self, text: &str) -> Answer<MountName> {
        let mount = mount_name(text)?;
        if self.may(&mount) {
            Ok(mount)
        } else {
            Err(Refusal::forbidden())
        }
    }

    /// Changes the configuration, saves it, and lets everything that runs follow. The closure decides under the lock
    /// of the one owner: what it refuses has changed nothing.
    ///
    /// # Errors
    /// What the closure refuses, or that the file could not be saved.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Config) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        change_config(&self.parts, change).await
    }

    /// Writes into the audit trail what was done.
    pub(crate) fn audit(&self, action: AuditAction, kind: &'static str, id: &str, detail: &str) {
        self.audit_as(self.user(), action, kind, id, detail);
    }

    /// The same in the name of somebody who is only just signed in, or no longer.
    pub(crate) fn audit_as(
        &self,
        user: &str,
        action: AuditAction,
        kind: &'static str,
        id: &str,
        detail: &str,
    ) {
        let failed = action == AuditAction::LoginFailed;
        if !failed && !self.parts.config.load().audit_enabled {
            return;
        }
        let Some(store) = &self.parts.store else { return };
        store.audit(store::AuditEntry {
            username: user.to_owned(),
            action: action.as_str().to_owned(),
            resource_type: kind.to_owned(),
            resource_id: id.to_owned(),
            detail: detail.to_owned(),
            ip: self.ip().to_string(),
            at: jiff::Timestamp::now(),
        });
    }
}

/// Changes the configuration for whoever has no call.
pub(crate) async fn change_config<T: Send + 'static>(
    parts: &Arc<Parts>,
    change: impl FnOnce(&mut Config) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let administer = Arc::clone(&parts.administer);
    let work = move || {
        let mut made = None;
        administer.change(Box::new(|config| {
            made = Some(change(config)?);
            Ok(())
        }))?;
        made.ok_or_else(|| Refusal::failed("The change was not made"))
    };
    // A disk may take its time; the runtime has sources to read.
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::failed("Internal error")),
    }
}

/// A mount name as people type it.
pub(crate) fn mount_name(text: &str) -> Answer<MountName> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::bad("Mount is required"));
    }
    let slashed = if text.starts_with('/') {
        text.to_owned()
    } else {
        format!("/{text}")
    };
    MountName::parse(&slashed).map_err(|error| Refusal::bad(format!("mount: {error}")))
}
