//! Ports, sockets and agents through ssh: what editors and browsers reach a notebook's programs by.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Connection, Person, curl, run, within};
use crate::notebook::{Namespace, Notebook, Wish};

#[tokio::test(flavor = "multi_thread")]
async fn alice_forwards_ports_sockets_and_her_agent() {
    let namespace = Namespace::new("forwarding").await;
    let alice = Person::new("alice");
    let notebook = namespace.notebook("ml", &[&alice], Wish::default()).await;

    // -L: Jupyter on her own machine.
    let port = free_port();
    let _local = alice.keeps_open(&notebook, &["-N", &format!("-L127.0.0.1:{port}:127.0.0.1:8888")], &[]);
    accepts(port).await;
    let page = curl(&[&format!("http://127.0.0.1:{port}{}/", notebook.prefix)]).ok();
    is_jupyter(&notebook, &page);
    assert!(curl(&[&format!("http://127.0.0.1:{port}/")]).ok().starts_with("HTTP/1.1 404"));

    // -D: any address, names resolved in the notebook.
    let port = free_port();
    let _socks = alice.keeps_open(&notebook, &["-N", &format!("-D127.0.0.1:{port}")], &[]);
    accepts(port).await;
    let proxy = format!("127.0.0.1:{port}");
    let page = curl(&["--socks5-hostname", &proxy, &format!("http://localhost:8888{}/", notebook.prefix)]).ok();
    is_jupyter(&notebook, &page);

    // -R: her machine from the notebook, by port and by socket.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("-R127.0.0.1:19001:127.0.0.1:{}", listener.local_addr().unwrap().port());
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"from alice's machine").unwrap();
    });
    let hello = "exec 3<>/dev/tcp/127.0.0.1/19001 && cat <&3";
    assert_eq!(alice.ssh_with(&notebook, &[&remote], &[hello]).ok(), "from alice's machine");
    answer.join().unwrap();

    let here = alice.path("here.sock");
    let listener = UnixListener::bind(&here).unwrap();
    let answer = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"by socket").unwrap());
    let script = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/tmp/there.sock'); \
                  print(s.recv(99).decode())";
    let remote = format!("-R/tmp/there.sock:{}", here.display());
    assert_eq!(alice.pipes(&notebook, &[&remote], &["python3", "-"], script).ok(), "by socket\n");
    answer.join().unwrap();

    // -L with sockets at both ends, as editors do to keep others on the machine out.
    let near = alice.path("near.sock");
    let forward = format!("-L{}:/tmp/far.sock", near.display());
    let serve = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/tmp/far.sock'); s.listen()\n\
                 print('ready', flush=True); c, _ = s.accept(); c.sendall(c.recv(99).upper())\n";
    let mut far = alice.keeps_open(&notebook, &[&forward], &["python3", "-"]);
    // Python reads to the end before it starts.
    far.0.stdin.take().unwrap().write_all(serve.as_bytes()).unwrap();
    assert_eq!(first_line(&mut far, "ready"), "ready");
    let mut stream = UnixStream::connect(&near).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "HELLO");

    // -A: her agent, and only while she asks for it.
    let socket = alice.path("agent.sock");
    let _agent = agent(&socket).await;
    run(Command::new("ssh-add").arg("-q").arg(alice.path("key")).env("SSH_AUTH_SOCK", &socket)).ok();
    let by_agent = format!("-oIdentityAgent={}", socket.display());
    let keys = alice.ssh_with(&notebook, &["-A", &by_agent], &["ssh-add -l"]).ok();
    assert!(keys.contains(&alice.fingerprint()), "{keys}");
    let without = alice.ssh_with(&notebook, &[&by_agent], &["ssh-add -l"]);
    assert_eq!(without.code, Some(2), "{without:?}");
}

/// VS Code Remote-SSH starts its server by a script on stdin and reaches the port that server prints through SOCKS.
#[tokio::test(flavor = "multi_thread")]
async fn an_editor_starts_a_server_by_script_and_reaches_it_through_the_same_connection() {
    let namespace = Namespace::new("editor").await;
    let alice = Person::new("alice");
    let notebook = namespace.notebook("ml", &[&alice], Wish::default()).await;

    let port = free_port();
    let mut editor = alice.keeps_open(&notebook, &["-T", &format!("-D{port}"), "-oConnectTimeout=15"], &["sh"]);
    // Loopback, so that only the forwarding reaches it.
    let script = "mkdir -p ~/.editor-server && cd ~/.editor-server && echo version 1 >version\n\
                  python3 -uc 'import http.server as h; \
                  s = h.HTTPServer((\"127.0.0.1\", 0), h.SimpleHTTPRequestHandler); \
                  print(\"listeningOn==%d==\" % s.server_port); s.serve_forever()' </dev/null 2>/dev/null\n";
    let mut stdin = editor.0.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    let line = first_line(&mut editor, "listeningOn");
    let server = line.trim_start_matches("listeningOn==").trim_end_matches("==");

    let url = format!("http://127.0.0.1:{server}/version");
    let page = curl(&["--socks5-hostname", &format!("127.0.0.1:{port}"), &url]).ok();
    assert!(page.ends_with("version 1\n"), "{page}");
    let direct = curl(&["--max-time", "5", &format!("http://{}:{server}/version", notebook.address)]);
    assert_eq!(direct.code, Some(7), "reached from outside: {direct:?}");
    drop(stdin);
}

fn is_jupyter(notebook: &Notebook, page: &str) {
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("\r\nAccess-Control-Allow-Origin: *\r\n"), "{page}");
    assert!(page.contains(&notebook.prefix), "{page}");
}

fn free_port() -> u16 {
    fairlead_lab::apiserver::free_ports::<1>().unwrap()[0]
}

async fn accepts(port: u16) {
    within(10, "the forwarded port accepts", async || TcpStream::connect(("127.0.0.1", port)).ok()).await;
}

/// The first line of the client's output that begins with `word`.
fn first_line(client: &mut Connection, word: &str) -> String {
    let lines = BufReader::new(client.0.stdout.as_mut().unwrap()).lines();
    lines.map_while(Result::ok).find(|line| line.starts_with(word)).unwrap_or_default()
}

async fn agent(socket: &Path) -> Connection {
    let mut agent = Command::new("ssh-agent");
    let agent = agent.arg("-D").arg("-a").arg(socket).stdout(Stdio::null()).spawn().unwrap();
    within(5, "the agent listens", async || UnixStream::connect(socket).ok()).await;
    Connection(agent)
}
