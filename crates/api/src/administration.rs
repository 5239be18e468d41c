//! Icecast's administration endpoints, for the tools that were written for it.
//!
//! Contract: Basic credentials decide, never a session cookie, so no page can make a browser change something.

use std::time::Instant;

use auth::{Account, Action, Identified, Presented, Verdict};
use config::{Config, MountName};
use front::{Request, route::IcecastCommand};
use http::{HeaderValue, Method, StatusCode, header};
use icecast::{
    Answer,
    command::{self, BadMove},
    metadata,
    status::{
        ListenerStatus, ServerStatus, listclients_json, listclients_xml, listmounts_xml, stats_json,
        stats_xml, streamlist_txt,
    },
};
use mount::Stopped;

use crate::{
    Api, Refusal, Reply,
    endpoint::{change_config, cookie},
    plain,
    status::parameter,
};

/// Who may send a command.
enum Caller {
    Account(Account),
    SourceOf(MountName),
}

impl Caller {
    fn is_account(&self) -> bool {
        matches!(self, Self::Account(_))
    }

    /// Whether the mount is theirs to see and to command; all are a superadmin's.
    fn may_manage(&self, mount: &MountName) -> bool {
        match self {
            Self::Account(account) => account.has_access(mount),
            Self::SourceOf(own) => own == mount,
        }
    }
}

/// The parameters of a command, from the query or a form.
struct Parameters<'a> {
    query: &'a str,
    form: &'a str,
}

impl Parameters<'_> {
    fn get(&self, name: &str) -> Option<String> {
        parameter(self.query, name).or_else(|| parameter(self.form, name))
    }

    fn mount(&self, name: &str) -> Option<MountName> {
        MountName::parse(&self.get(name)?).ok()
    }
}

impl Api {
    pub(crate) async fn administer(&self, command: IcecastCommand, request: &Request, form: &[u8]) -> Reply {
        if !matches!(request.method, Method::GET | Method::HEAD | Method::POST) {
            return front::route::method_not_allowed(front::route::ALLOW_ICECAST);
        }
        if command == IcecastCommand::Metadata {
            return self.update_metadata(request, form).await;
        }
        let form = String::from_utf8_lossy(form);
        let parameters = Parameters {
            query: request.query().unwrap_or_default(),
            form: &form,
        };
        let mount = parameters.mount("mount");
        match self
            .signed_in(request, &form, right(command), mount.as_ref())
            .await
        {
            Some(Ok(account)) => {
                return self
                    .command(
                        command,
                        &Caller::Account(account),
                        mount.as_ref(),
                        &parameters,
                        request,
                    )
                    .await;
            }
            Some(Err(refusal)) => return refusal.plain(),
            None => {}
        }
        let credentials = Self::credentials(request);
        let verdict = self
            .parts
            .auth
            .admin_or_source(request.client, mount.as_ref(), credentials.as_ref())
            .await;
        let caller = match verdict {
            Verdict::Account(account) => Caller::Account(account),
            Verdict::SourceOf(mount) => Caller::SourceOf(mount),
            Verdict::Busy => return plain(Answer::too_many_logins()),
            Verdict::NoCredentials | Verdict::Wrong | Verdict::LockedOut => {
                return plain(Answer::unauthorized_admin());
            }
        };
        self.command(command, &caller, mount.as_ref(), &parameters, request)
            .await
    }

    /// Who asks by a token or by a session; nothing where the request has neither, and a password decides. A session's
    /// cookie is sent by browsers whoever makes them, so it only reads, or changes by `POST` what a form of ours asks for.
    pub(crate) async fn signed_in(
        &self,
        request: &Request,
        form: &str,
        right: Action,
        mount: Option<&MountName>,
    ) -> Option<Result<Account, Refusal>> {
        let authorization = request
            .headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes);
        let by_token =
            authorization.is_some_and(|value| value.len() > 7 && value[..7].eq_ignore_ascii_case(b"bearer "));
        let sid = cookie(request, "sid");
        if !by_token && (authorization.is_some() || sid.is_none()) {
            return None;
        }
        if !by_token && !reads(right) {
            let is_form = request.method == Method::POST;
            let form = bytes::Bytes::copy_from_slice(form.as_bytes());
            if !is_form || self.check_forgery(false, request, Some(&form)).is_err() {
                return Some(Err(Refusal::forbidden()));
            }
        }
        let presented = Presented {
            ip: request.client,
            authorization,
            sid,
            user_agent: "",
        };
        Some(match self.parts.auth.identify(&presented).await {
            Identified::Caller(caller) if auth::permits(&caller, right, mount) => Ok(caller.account),
            Identified::Caller(_) => Err(Refusal::forbidden()),
            _ if by_token => Err(Refusal::unauthorized()),
            _ => return None,
        })
    }

    async fn command(
        &self,
        command: IcecastCommand,
        caller: &Caller,
        mount: Option<&MountName>,
        parameters: &Parameters<'_>,
        request: &Request,
    ) -> Reply {
        use IcecastCommand as C;
        let config = self.parts.config.load_full();
        let is_global = matches!(command, C::ListMounts | C::StreamList) || mount.is_none();
        if is_global && !caller.is_account() {
            return plain(metadata::forbidden());
        }
        match command {
            C::Stats | C::StatsXml => {
                let filter = parameters.get("mount");
                if mount.is_some_and(|mount| !caller.may_manage(mount)) {
                    return plain(metadata::forbidden());
                }
                let status = self.status_for(caller, &config);
                if command == C::Stats && wants_json(request, parameters) {
                    return json(self.stats_json(&status, filter.as_deref()));
                }
                plain(Answer::new(
                    StatusCode::OK,
                    command::XML,
                    stats_xml(&status, filter.as_deref()),
                ))
            }
            C::ListMounts => plain(Answer::new(
                StatusCode::OK,
                command::XML,
                listmounts_xml(&self.status_for(caller, &config)),
            )),
            C::StreamList => plain(Answer::text(
                StatusCode::OK,
                streamlist_txt(&self.status_for(caller, &config)),
            )),
            C::Poke => plain(command::response(StatusCode::OK, "Hello", true)),
            C::Metadata | C::ListClients | C::KillClient | C::KillSource | C::MoveClients | C::Fallbacks => {
                let Some(mount) = mount else {
                    return plain(command::missing("mount"));
                };
                if !caller.may_manage(mount) {
                    return plain(metadata::forbidden());
                }
                self.mount_command(command, caller, mount, parameters).await
            }
        }
    }

    async fn mount_command(
        &self,
        command: IcecastCommand,
        caller: &Caller,
        mount: &MountName,
        parameters: &Parameters<'_>,
    ) -> Reply {
        use IcecastCommand as C;
        let mounts = &self.parts.mounts;
        if command == C::Fallbacks {
            return self.set_fallback(caller, mount, parameters).await;
        }
        if mounts.live(mount).is_none() {
            return plain(command::no_such_source());
        }
        match command {
            C::ListClients if !caller.is_account() => plain(metadata::forbidden()),
            C::ListClients => {
                let listeners = self.listeners(mount);
                if parameters.get("format").as_deref() == Some("json") {
                    return json(listclients_json(mount.as_str(), &listeners));
                }
                plain(Answer::new(
                    StatusCode::OK,
                    command::XML,
                    listclients_xml(mount.as_str(), &listeners),
                ))
            }
            C::KillClient => {
                let Some(id) = parameters.get("id").and_then(|id| id.parse().ok()) else {
                    return plain(command::missing("id"));
                };
                plain(command::killclient(id, mounts.close_listener(mount, id)))
            }
            C::KillSource => {
                mounts.stop_source(mount, Stopped::Kicked);
                plain(command::killsource())
            }
            C::MoveClients => self.move_clients(caller, mount, parameters),
            _ => plain(command::no_such_source()),
        }
    }

    fn move_clients(&self, caller: &Caller, from: &MountName, parameters: &Parameters<'_>) -> Reply {
        if parameters.get("destination").is_none() {
            return plain(command::missing("destination"));
        }
        let Some(to) = parameters.mount("destination") else {
            return plain(Answer::from(BadMove::NoSuchDestination));
        };
        if to == *from {
            return plain(Answer::from(BadMove::Identical));
        }
        if !caller.may_manage(&to) && caller.is_account() {
            return plain(metadata::forbidden());
        }
        if self.parts.mounts.live(&to).is_none() {
            let known = self.parts.mounts.settings().known.contains(&to);
            return plain(Answer::from(if known {
                BadMove::NotRunning
            } else {
                BadMove::NoSuchDestination
            }));
        }
        self.parts.mounts.move_listeners(from, &to);
        plain(command::moveclients(from, &to))
    }

    async fn set_fallback(&self, caller: &Caller, mount: &MountName, parameters: &Parameters<'_>) -> Reply {
        // A fallback outlives the source, so it takes more than the source's password.
        if !caller.is_account() {
            return plain(metadata::forbidden());
        }
        let Some(text) = parameters.get("fallback") else {
            return plain(command::missing("fallback"));
        };
        let fallback = match text.as_str() {
            "" => None,
            text => match MountName::parse(text) {
                Ok(fallback) => Some(fallback),
                Err(error) => return plain(bad_request(&format!("fallback: {error}"))),
            },
        };
        let mount = mount.clone();
        let changed = change_config(&self.parts, move |config| {
            plan_fallback(config, &mount, fallback.as_ref())
        })
        .await;
        match changed {
            Ok(()) => plain(command::fallbacks()),
            Err(refusal) => plain(command::response(refusal.status(), refusal.text(), false)),
        }
    }

    fn listeners(&self, mount: &MountName) -> Vec<ListenerStatus> {
        let now = Instant::now();
        let status = |presence: &std::sync::Arc<fanout::Presence>| ListenerStatus {
            id: presence.id,
            ip: presence.ip.to_string(),
            user_agent: presence.user_agent.to_string(),
            referer: presence.referer.to_string(),
            connected: now.saturating_duration_since(presence.since),
        };
        self.parts.mounts.listeners_of(mount).iter().map(status).collect()
    }

    /// The server with those mounts that are the caller's. The totals stay the whole server's.
    fn status_for(&self, caller: &Caller, config: &Config) -> ServerStatus {
        let mut status = self.server_status(config);
        status.sources.retain(|source| caller.may_manage(&source.mount));
        status
    }

    /// The old JSON of `/admin/stats`, or Icecast's where a mount is asked for.
    fn stats_json(&self, status: &ServerStatus, mount: Option<&str>) -> String {
        if mount.is_some() {
            return stats_json(status, mount);
        }
        let totals = self.parts.mounts.totals();
        format!(
            r#"{{"bytes_in":{},"bytes_out":{}}}"#,
            totals.bytes_in, totals.bytes_out
        )
    }
}

/// What of the table of rights a command is.
fn right(command: IcecastCommand) -> Action {
    use IcecastCommand as C;
    match command {
        C::Stats | C::StatsXml | C::ListMounts | C::StreamList | C::Poke => Action::IcecastRead,
        C::ListClients => Action::ListenersRead,
        C::KillClient => Action::ListenersKick,
        C::KillSource => Action::SourceKick,
        C::MoveClients => Action::ListenersMove,
        C::Fallbacks => Action::FallbackUpdate,
        C::Metadata => Action::MetadataUpdate,
    }
}

fn reads(right: Action) -> bool {
    matches!(right, Action::IcecastRead | Action::ListenersRead)
}

/// Sets where the listeners of a mount go without its source.
pub(crate) fn plan_fallback(
    config: &mut Config,
    mount: &MountName,
    fallback: Option<&MountName>,
) -> Result<(), Refusal> {
    let Some(fallback) = fallback else {
        config.fallback_mounts.remove(mount);
        return Ok(());
    };
    let mut planned = config.fallback_mounts.clone();
    planned.insert(mount.clone(), fallback.clone());
    if closes_loop(mount, &planned) {
        return Err(Refusal::bad("fallback: this would close a loop"));
    }
    config.fallback_mounts = planned;
    Ok(())
}

/// Whether following fallbacks from `mount` comes back to it.
fn closes_loop(mount: &MountName, fallbacks: &std::collections::BTreeMap<MountName, MountName>) -> bool {
    let mut at = mount;
    for _ in 0..=fallbacks.len() {
        match fallbacks.get(at) {
            Some(next) if next == mount => return true,
            Some(next) => at = next,
            None => return false,
        }
    }
    true
}

/// Tools for Icecast send no useful `Accept`, so XML is for them and JSON for those who ask.
fn wants_json(request: &Request, parameters: &Parameters<'_>) -> bool {
    let accepts = request
        .headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    parameters.get("format").as_deref() == Some("json")
        || accepts.is_some_and(|accept| accept.contains("application/json"))
}

fn json(body: String) -> Reply {
    plain(Answer::new(
        StatusCode::OK,
        HeaderValue::from_static("application/json"),
        body,
    ))
}

fn bad_request(message: &str) -> Answer {
    command::response(StatusCode::BAD_REQUEST, message, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_are_found_before_they_are_saved() {
        let name = |text: &str| MountName::parse(text).expect("a legal name");
        let check = |pairs: &[(&str, &str)], expected: bool| {
            let map = pairs.iter().map(|(a, b)| (name(a), name(b))).collect();
            assert_eq!(closes_loop(&name("/a"), &map), expected, "{pairs:?}");
        };
        check(&[("/a", "/b")], false);
        check(&[("/a", "/b"), ("/b", "/a")], true);
        check(&[("/a", "/a")], true);
        check(&[("/a", "/b"), ("/b", "/c"), ("/c", "/b")], true);
    }
}
