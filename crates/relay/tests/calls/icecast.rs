//! A relay of a real Icecast, which is restarted under it. Where none is installed the test says so and passes, except
//! where the variable `CI` is set. It runs by the real clock, because Icecast does.

use std::{
    convert::Infallible,
    fs, io,
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
    process::Command,
    time::{Instant, interval, sleep},
};

use crate::world::{World, heard, mp3, name};

const FRAME: usize = 417;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

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

    /// Runs the program, with an encoder on its mount, for as long as it is polled. Icecast 2.4 sometimes falls over a
    /// client that comes before it is ready; like in earnest, both are started again then.
    async fn run(&self, program: &str) -> Infallible {
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
        loop {
            let mut child = command.spawn().unwrap();
            let encoder = async {
                loop {
                    // Whatever cut it off, it comes back.
                    let _ = self.encode().await;
                    sleep(LOOK).await;
                }
            };
            tokio::select! {
                _ = child.wait() => {}
                () = encoder => {}
            }
        }
    }

    /// Sends numbered frames at their pace until that fails.
    async fn encode(&self) -> io::Result<()> {
        let mut socket = TcpStream::connect(self.address).await?;
        let head = format!(
            "SOURCE /up HTTP/1.0\r\n{CREDENTIALS}\r\nContent-Type: audio/mpeg\r\nice-name: Example FM\r\n\
             ice-audio-info: bitrate=128\r\nice-public: 0\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await?;
        let mut answer = [0; 1024];
        let read = socket.read(&mut answer).await?;
        if !answer[..read].starts_with(b"HTTP/1.0 200") {
            return Ok(());
        }
        let frames = mp3(251);
        let mut frames = frames.chunks(FRAME).cycle();
        let mut pace = interval(Duration::from_millis(26));
        loop {
            pace.tick().await;
            socket
                .write_all(frames.next().expect("a cycle has no end"))
                .await?;
        }
    }

    async fn set_title(&self, title: &str) -> io::Result<()> {
        let mut socket = TcpStream::connect(self.address).await?;
        let request = format!(
            "GET /admin/metadata?mount=/up&mode=updinfo&song={title} HTTP/1.0\r\n{CREDENTIALS}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        socket.read_to_end(&mut Vec::new()).await?;
        Ok(())
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
        sleep(LOOK).await;
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

    world.apply(std::slice::from_ref(&record)).await;
    let play = async {
        eventually("the connection", async || {
            world.state("/live").phase == Phase::Connected
        })
        .await;
        let stream = world.live("/live").expect("a connected relay has its mount");
        icecast.set_title("Alpha+-+Beta").await.unwrap();
        eventually("the title", async || stream.title().text == "Alpha - Beta").await;
        // More than one interval of metadata, so that blocks were taken out.
        eventually("audio", async || heard(&stream).len() > 40_000).await;
        stream
    };
    let first = tokio::select! {
        never = icecast.run(&program) => match never {},
        stream = play => stream,
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

    // With its future the program is gone.
    eventually("the loss", async || {
        world.state("/live").phase != Phase::Connected
    })
    .await;
    tokio::select! {
        never = icecast.run(&program) => match never {},
        () = eventually("the reconnect", async || world.state("/live").reconnects > 0) => {}
    }
    let second = world.live("/live").expect("a connected relay has its mount");
    assert!(Arc::ptr_eq(&first, &second), "listeners stay");
    world.pulls.stop().await;
}
