//! A relay of a real Icecast, which is restarted under it. Where none is installed the test says so and passes, except
//! where the variable `CI` is set. It runs by the real clock, because Icecast does.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use relay::Phase;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{Instant, interval, sleep},
};

use crate::world::{World, heard, mp3, name};

const FRAME: usize = 417;

/// `source:hackme`.
const CREDENTIALS: &str = "Authorization: Basic c291cmNlOmhhY2ttZQ==";

/// Uid and gid of nobody: Icecast does not run as root.
const NOBODY: u32 = 65_534;

struct Icecast {
    address: SocketAddr,
    folder: PathBuf,
}

impl Icecast {
    async fn prepare() -> Self {
        // On a loopback address of its own, so that no other test is given the port while Icecast does not hold it.
        let [.., high, low] = std::process::id().to_be_bytes();
        let probe = TcpListener::bind((Ipv4Addr::new(127, 100, high, low.max(1)), 0))
            .await
            .unwrap();
        let address = probe.local_addr().unwrap();
        let folder = std::env::temp_dir().join(format!("relay-icecast-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let path = folder.display();
        let text = format!(
            "<icecast><limits><sources>2</sources><burst-size>65536</burst-size></limits>
             <authentication><source-password>hackme</source-password><relay-password>hackme</relay-password>
             <admin-user>admin</admin-user><admin-password>hackme</admin-password></authentication>
             <hostname>localhost</hostname>
             <listen-socket><port>{}</port><bind-address>{}</bind-address></listen-socket>
             <paths><basedir>{path}</basedir><logdir>{path}</logdir><webroot>{path}</webroot><adminroot>{path}</adminroot>
             </paths><logging><accesslog>access.log</accesslog><errorlog>error.log</errorlog><loglevel>3</loglevel>
             </logging></icecast>",
            address.port(),
            address.ip()
        );
        fs::write(folder.join("icecast.xml"), text).unwrap();
        Self { address, folder }
    }

    /// Starts the program; it ends when the value is dropped.
    async fn start(&self, program: &str) -> Child {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.folder.join("icecast.xml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let log = self.folder.join("error.log");
        loop {
            let _ = fs::remove_file(&log);
            let mut child = command.spawn().unwrap();
            // Its port is open before this, but Icecast 2.4 falls over whoever comes too early, as the relay may.
            let mut fallen = false;
            eventually("a started Icecast", async || {
                fallen = child.try_wait().unwrap().is_some();
                fallen || fs::read_to_string(&log).is_ok_and(|log| log.contains("stats thread started"))
            })
            .await;
            if !fallen {
                return child;
            }
        }
    }

    /// An encoder that sends numbered frames at their pace for as long as it is polled.
    async fn encode(&self) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "SOURCE /up HTTP/1.0\r\n{CREDENTIALS}\r\nContent-Type: audio/mpeg\r\nice-name: Example FM\r\n\
             ice-audio-info: bitrate=128\r\nice-public: 0\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let read = socket.read(&mut answer).await.unwrap();
        assert!(
            answer[..read].starts_with(b"HTTP/1.0 200"),
            "{}",
            answer[..read].escape_ascii()
        );
        let frames = mp3(251);
        let mut frames = frames.chunks(FRAME).cycle();
        let mut pace = interval(Duration::from_millis(26));
        while socket
            .write_all(frames.next().expect("a cycle has no end"))
            .await
            .is_ok()
        {
            pace.tick().await;
        }
    }

    async fn set_title(&self, title: &str) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET /admin/metadata?mount=/up&mode=updinfo&song={title} HTTP/1.0\r\n{CREDENTIALS}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    }
}

impl Drop for Icecast {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for such things.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "waited in vain: {what}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

fn program() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find_map(|folder| {
        let program = folder.join("icecast2");
        program.is_file().then(|| program.display().to_string())
    });
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "icecast2 is not installed");
        println!("skipped: icecast2 is not installed");
    }
    found
}

#[tokio::test]
async fn a_real_icecast_is_relayed_and_may_restart() {
    let Some(program) = program() else { return };
    let icecast = Icecast::prepare().await;
    let mut world = World::with_policy(&["127.0.0.0/8"]);
    let url = format!("http://{}/up", icecast.address);
    let record = config::Relay::new(url, name("/live"));

    let mut running = icecast.start(&program).await;
    let first = {
        let exchange = async {
            world.apply(std::slice::from_ref(&record)).await;
            eventually("the connection", async || {
                world.state("/live").phase == Phase::Connected
            })
            .await;
            icecast.set_title("Alpha+-+Beta").await;
            let stream = world.live("/live").expect("a connected relay has its mount");
            eventually("the title", async || stream.title().text == "Alpha - Beta").await;
            // More than one interval of metadata, so that blocks were taken out.
            eventually("audio", async || heard(&stream).len() > 40_000).await;
            stream
        };
        tokio::select! {
            () = icecast.encode() => panic!("the encoder was cut"),
            stream = exchange => stream,
        }
    };
    assert_eq!(first.station().name.as_deref(), Some("Example FM"));
    assert_eq!(first.bitrate().as_deref(), Some("128"));
    let audio = heard(&first);
    let numbers: Vec<u8> = audio.chunks_exact(FRAME).map(|frame| frame[FRAME - 1]).collect();
    for (n, frame) in audio.chunks_exact(FRAME).enumerate() {
        assert!(
            frame.starts_with(&[0xff, 0xfb, 0x90, 0x64]),
            "frame {n} is broken"
        );
        let expected = ((usize::from(numbers[0]) + n) % 251) as u8;
        assert!(
            frame[4..].iter().all(|byte| *byte == expected),
            "frame {n} is not whole"
        );
    }

    running.kill().await.unwrap();
    eventually("the loss", async || {
        world.state("/live").phase != Phase::Connected
    })
    .await;
    let _running = icecast.start(&program).await;
    tokio::select! {
        () = icecast.encode() => panic!("the encoder was cut"),
        () = eventually("the reconnect", async || world.state("/live").reconnects == 1) => {}
    }
    let second = world.live("/live").expect("a connected relay has its mount");
    assert!(Arc::ptr_eq(&first, &second), "listeners stay");
    world.pulls.stop().await;
}
