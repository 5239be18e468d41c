//! A real browser without a window, spoken to over a pair of pipes (Chrome DevTools Protocol).

use std::{
    io::{BufRead as _, BufReader, PipeWriter, Write as _, pipe},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use command_fds::{CommandFdExt as _, FdMapping};
use serde_json::{Value, json};

use super::{Folder, PATIENCE, installed, until};

/// The browser. Dropping it ends it.
pub(crate) struct Browser {
    child: Child,
    commands: PipeWriter,
    answers: mpsc::Receiver<Value>,
    asked: u64,
    _profile: Folder,
}

/// A page that is open in it.
pub(crate) struct Page {
    session: String,
}

impl Browser {
    /// Starts it; nothing where there is none to start.
    pub(crate) fn start() -> Option<Self> {
        if !installed(&["chromium"]) {
            return None;
        }
        let profile = Folder::new();
        let ((its_commands, commands), (answers, its_answers)) = (pipe().unwrap(), pipe().unwrap());
        let mut command = Command::new("chromium");
        command
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args(["--no-first-run", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let map = |parent_fd, child_fd| FdMapping { parent_fd, child_fd };
        command
            .fd_mappings(vec![map(its_commands.into(), 3), map(its_answers.into(), 4)])
            .unwrap();
        let child = command.spawn().unwrap();
        // The command holds the browser's ends too; while it does, the end of the browser cannot be seen.
        drop(command);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Some(Self {
            child,
            commands,
            answers: receiver,
            asked: 0,
            _profile: profile,
        })
    }

    /// Opens a page.
    pub(crate) fn open(&mut self, url: &str) -> Page {
        let target = self.call(None, "Target.createTarget", &json!({ "url": url }))["targetId"].take();
        let params = json!({ "targetId": target, "flatten": true });
        let session = self.call(None, "Target.attachToTarget", &params)["sessionId"].take();
        let page = Page {
            session: session.as_str().unwrap().to_owned(),
        };
        // A new tab is an empty page first, which is complete at once.
        let state = "location.href === 'about:blank' ? 'blank' : document.readyState";
        until("the page", || {
            (self.value(&page, state) == "complete").then_some(())
        });
        page
    }

    /// What an expression is in a page.
    pub(crate) fn value(&mut self, page: &Page, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut result = self.call(Some(&page.session), "Runtime.evaluate", &params);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// What an expression becomes that is a promise, as if somebody had clicked.
    pub(crate) fn settled(&mut self, page: &Page, expression: &str) -> Value {
        // Requests of a page in the background wait for their turn, and passkeys want to be seen.
        self.command(page, "Page.bringToFront", &json!({}));
        let params = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true,
        });
        let mut result = self.command(page, "Runtime.evaluate", &params);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// Goes to another address in the same page.
    pub(crate) fn go(&mut self, page: &Page, url: &str) {
        self.value(page, "window.isLeft = true");
        self.command(page, "Page.navigate", &json!({ "url": url }));
        let state = "window.isLeft ? 'left' : document.readyState";
        until("the page", || {
            (self.value(page, state) == "complete").then_some(())
        });
    }

    /// A command of the protocol to a page.
    pub(crate) fn command(&mut self, page: &Page, method: &str, params: &Value) -> Value {
        self.call(Some(&page.session), method, params)
    }

    /// Waits until an expression is this.
    pub(crate) fn wait_for(&mut self, page: &Page, expression: &str, expected: impl Into<Value>) {
        let expected = expected.into();
        // Pages in the background save themselves the trouble.
        self.call(Some(&page.session), "Page.bringToFront", &json!({}));
        let mut last = Value::Null;
        let began = std::time::Instant::now();
        while last != expected {
            assert!(
                began.elapsed() < PATIENCE,
                "{expression} is {last}, not {expected}"
            );
            last = self.value(page, expression);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn call(&mut self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        loop {
            let mut answer = self.answers.recv_timeout(PATIENCE).expect("the browser answers");
            if answer["id"] == self.asked {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
