//! Another program takes this one's place: no connection is refused, nobody is cut before their time.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use serde_json::Value;

use crate::harness::{ADMIN, Capture, Client, FRAME, Feeder, Server, get, numbers, post, until};

/// The successor, ended by its number.
struct Successor(Pid);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::TERM);
        until("the successor ends", || {
            test_kill_process(self.0).is_err().then_some(())
        });
    }
}

fn pid_in_file(server: &Server) -> Option<Pid> {
    let text = std::fs::read_to_string(server.folder().file("tinyice.pid")).ok()?;
    Pid::from_raw(text.parse().ok()?)
}

fn administrator(server: &Server) -> Client {
    Client::password(server, ADMIN.0, ADMIN.1)
}

#[test]
fn listeners_stay_while_newcomers_meet_the_successor() {
    let mut server = Server::start();
    let feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "");
    listener.wait_for(FRAME);

    let reply = administrator(&server).call("POST", "/api/system/hotswap?drain=600", &Value::Null);
    assert_eq!(
        (reply.status(), reply.text().as_str()),
        (202, r#"{"status":"started"}"#)
    );
    server.wait_for_log("the successor is ready, draining");
    let old = Pid::from_raw(i32::try_from(server.pid()).expect("pids are small"));
    let successor = until("the successor takes the pid file", || {
        pid_in_file(&server).filter(|pid| Some(*pid) != old)
    });
    let _successor = Successor(successor);

    // Newcomers, sources among them, meet the successor; the old listener hears on without a gap.
    let _second = Feeder::start(&server, "/second", 'b');
    server.wait_for_mount("/second");
    assert!(
        server.status_of("/live").is_none(),
        "the old source is still with the old process"
    );
    let heard = listener.len();
    listener.wait_for(heard + 20 * FRAME);
    let newcomer = Capture::start(&server, "/second", "");
    newcomer.wait_for(FRAME);

    // When the last source leaves, the old process ends; the last byte of its listener is audio.
    drop(feeder);
    assert_eq!(server.wait().code(), Some(0));
    let heard = listener.wait_for_end();
    let numbers = numbers(&heard);
    assert!(
        numbers.windows(2).all(|pair| pair[1].1 == pair[0].1 + 1),
        "no frame is missing"
    );
    assert_eq!(get(server.address(), "/healthz", "").status(), 200);
    assert!(
        pid_in_file(&server) == Some(successor),
        "the old process leaves the pid file alone"
    );
    newcomer.wait_for(newcomer.len() + FRAME);
}

#[test]
fn a_successor_that_cannot_start_changes_nothing() {
    let server = Server::start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "");
    std::fs::write(server.config_path(), "{ broken").expect("the folder is ours");
    let reply = administrator(&server).call("POST", "/api/system/hotswap", &Value::Null);
    assert_eq!(reply.status(), 202);
    server.wait_for_log("Hot swap failed, going on as before");
    let heard = listener.len();
    listener.wait_for(heard + 5 * FRAME);
    assert_eq!(get(server.address(), "/healthz", "").status(), 200);
}

#[test]
fn only_a_superadmin_may_and_only_by_post() {
    let server = Server::start();
    let admin = administrator(&server);
    // A link changes nothing, nor does a form that a page of another site could have sent.
    assert_eq!(admin.get("/admin/hotswap").status(), 403);
    assert_eq!(admin.get("/api/system/hotswap").status(), 405);
    assert_eq!(admin.form("/admin/hotswap", &[]).status(), 403);
    assert_eq!(post(server.address(), "/admin/hotswap", "", "").status(), 401);
    assert_eq!(
        admin
            .call("POST", "/api/system/hotswap?drain=x", &Value::Null)
            .status(),
        400
    );
    let session = Client::login(&server, ADMIN.0, ADMIN.1);
    assert_eq!(session.form("/admin/hotswap?drain=x", &[]).status(), 400);
}
