//! Builds of the notebook image where only mirrors and proxies are in reach: what is asked of them, what the image then
//! uses, and that nothing of them stays unless asked.

mod build;
mod mirror;

use std::path::PathBuf;

use fairlead_lab::images;

use self::build::Image;
use self::mirror::Mirror;

/// What a base may have: both list formats, hosts of both distributions, and settings of its own. Nothing of the
/// suites `test-…` exists, which apt forgives because it is told to trust them.
const BASE: &str = r"FROM fairlead.local/testbase:1
USER root
RUN cd /etc/apt/sources.list.d \
 && echo 'deb [trusted=yes] http://archive.ubuntu.com/ubuntu test-a main' >ubuntu.list \
 && echo 'deb [trusted=yes] https://security.ubuntu.com/ubuntu test-b main' >>ubuntu.list \
 && printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nTrusted: yes\n\n' \
        http://de.archive.ubuntu.com/ubuntu/ test-c http://security.ubuntu.com/ubuntu test-d \
        http://ports.ubuntu.com/ubuntu-ports test-e https://ftp.de.debian.org/debian test-f \
        http://deb.debian.org/debian-security test-g http://security.debian.org/debian-security test-h >both.sources \
 && printf 'channels:\n  - old\nauto_update_conda: false\n' >/opt/conda/.condarc \
 && printf '[global]\ntimeout = 7\n' >/etc/pip.conf
USER 1000
";
const FROM_MAIN: [&str; 6] = [
    "/debian/dists/bookworm",
    "/debian/dists/bookworm-updates",
    "/debian/dists/test-f",
    "/ubuntu-ports/dists/test-e",
    "/ubuntu/dists/test-a",
    "/ubuntu/dists/test-c",
];
const FROM_SECURITY: [&str; 5] = [
    "/debian-security/dists/bookworm-security",
    "/debian-security/dists/test-g",
    "/debian-security/dists/test-h",
    "/ubuntu/dists/test-b",
    "/ubuntu/dists/test-d",
];
/// Every file that mirrors are written to.
const FILES: [&str; 5] = [
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/both.sources",
    "/etc/apt/sources.list.d/ubuntu.list",
    "/etc/pip.conf",
    "/opt/conda/.condarc",
];
/// pip's way to ask each of its indexes once.
const ASK_PIP: &str = "pip download --no-cache-dir --no-deps --retries 0 --dest /tmp/pip fairlead-probe";
/// What sshd makes of the image's files, and xauth where it is installed.
const FEATURES: &str = "ssh-keygen -qt ed25519 -N '' -f /tmp/key && cd /opt/fairlead && shopt -s nullglob && \
                        cat sshd_config.d/*.conf sshd_config >/tmp/config && \
                        /usr/sbin/sshd -T -f /tmp/config -h /tmp/key | grep -E '^(x11forwarding|subsystem)'; \
                        command -v xauth; true";

#[test]
fn mirrors_serve_the_build_and_are_in_the_image_only_when_asked() {
    let (main, security) = (Mirror::new(), Mirror::new());
    let index = format!("PIP_INDEX_URL=http://{main}/index/simple");
    let more = format!("PIP_EXTRA_INDEX_URL=http://{main}/extra/simple http://{security}/more/simple/");
    let channels = format!("CONDA_CHANNELS=http://{main}/conda/one http://{main}/conda/two");
    // One with a scheme and a slash at its end, and one with neither.
    let (apt, apt_security) = (format!("APT_MIRROR={main}"), format!("APT_SECURITY_MIRROR=http://{security}/"));
    let mut options = vec!["PIP_TRUSTED_HOST=one.test two.test"];
    options.extend([&index, &more, &channels, &apt, &apt_security].map(String::as_str));
    let mut options: Vec<&str> = options.into_iter().flat_map(|value| ["--build-arg", value]).collect();
    let base = Image::new("base", BASE);

    // Not kept: used, and then gone without a trace.
    let image = Image::layer("gone", &base.name, &options);
    let (from_main, from_security) = (main.asked(), security.asked());
    assert_eq!(lists_among(&from_main), FROM_MAIN);
    assert_eq!(lists_among(&from_security), FROM_SECURITY);
    let pool = from_main.iter().chain(&from_security).filter(|path| path.contains("/pool/"));
    assert!(pool.clone().any(|path| path.contains("/openssh-server_")), "{:?}", pool.collect::<Vec<_>>());
    let looks =
        |image: &Image| FILES.map(|file| image.run(&format!("stat -c '%A %U %G %Y' {file} && cat {file}")).ok());
    assert_eq!(looks(&image), looks(&base));
    let addresses = [main.to_string(), security.to_string()];
    for address in &addresses {
        assert_eq!(image.files_with(address), Vec::<PathBuf>::new());
        assert!(!image.configuration().contains(address), "{}", image.configuration());
    }
    let beside = "ls -A /tmp /opt/conda /etc/apt /etc/apt/sources.list.d && ls -d /etc/pip*";
    assert_eq!(image.run(beside).ok(), base.run(beside).ok(), "copies of the originals stay");

    // Kept: what apt, pip and conda work with from then on. Whoever reads the image's history still sees no address.
    options.extend(["--keep-mirrors", "--build-arg", "ENABLE_X11=yes", "--build-arg", "ENABLE_SFTP=no"]);
    let image = Image::layer("kept", &base.name, &options);
    assert_eq!(image.files_with(&addresses[0]), FILES.map(PathBuf::from));
    for address in &addresses {
        assert!(!image.configuration().contains(address), "{}", image.configuration());
    }
    assert_eq!(image.run(FEATURES).ok(), "x11forwarding yes\n/usr/bin/xauth\n");
    let plan = image.run("apt-get update --print-uris").ok();
    let plan: Vec<&str> = plan.lines().filter_map(|line| line.split('\'').nth(1)).collect();
    let of = |mirror: &Mirror| {
        let from_here = plan.iter().filter_map(|uri| uri.strip_prefix(&format!("http://{mirror}"))).map(str::to_owned);
        lists_among(&from_here.collect::<Vec<_>>())
    };
    assert_eq!(of(&main), FROM_MAIN);
    assert_eq!(of(&security), FROM_SECURITY);
    assert!(plan.iter().all(|uri| addresses.iter().any(|address| uri.contains(address))), "{plan:?}");

    let pip = format!(
        "global.extra-index-url='\\nhttp://{main}/extra/simple\\nhttp://{security}/more/simple/'\n\
         global.index-url='http://{main}/index/simple'\nglobal.trusted-host='\\none.test\\ntwo.test'\n"
    );
    assert_eq!(image.run("pip config list").ok(), pip);
    for mirror in [&main, &security] {
        assert!(!mirror.asked().is_empty(), "the second build used them, too");
    }
    image.run(ASK_PIP);
    assert_eq!(main.asked(), ["/index/simple/fairlead-probe/", "/extra/simple/fairlead-probe/"]);
    assert_eq!(security.asked(), ["/more/simple/fairlead-probe/"]);

    let channels = format!("channels:\n  - http://{main}/conda/one\n  - http://{main}/conda/two\n");
    assert_eq!(image.run("conda config --show channels").ok(), channels);
    assert!(image.run("cat /opt/conda/.condarc").ok().contains("auto_update_conda: false"), "other settings stay");
}

#[test]
fn china_is_one_argument_and_a_proxy_leaves_no_trace() {
    let proxy = Mirror::new();
    let address = format!("http://somebody:password@{proxy}");
    let capitals = format!("HTTP_PROXY={address}");
    // An argument beside the preset wins over it.
    let wins = "APT_SECURITY_MIRROR=http://security.debian.org";
    let options = ["--mirror", "china", "--keep-mirrors", "--build-arg", wins];
    let proxies = ["--build-arg", &capitals];
    let image = Image::layer("china", images::TESTBASE, &[&options[..], &proxies].concat());
    let (china, security) = ("http://mirrors.aliyun.com/debian", "http://security.debian.org/debian-security");
    let lists = [format!("{china}/dists/bookworm"), format!("{china}/dists/bookworm-updates")];
    let expected = [&lists[..], &[format!("{security}/dists/bookworm-security")]].concat();
    assert_eq!(lists_among(&proxy.asked()), expected);

    for trace in [proxy.to_string().as_str(), "somebody:password"] {
        assert_eq!(image.files_with(trace), Vec::<PathBuf>::new());
        assert!(!image.configuration().contains(trace), "{}", image.configuration());
    }
    assert!(!image.run("env").ok().to_lowercase().contains("_proxy="));

    // All by https: pip checks whom it talks to.
    image.run(&format!("http_proxy={address} https_proxy={address} {ASK_PIP}"));
    let expected = ["mirrors.baidubce.com:443", "mirrors.aliyun.com:443", "pypi.tuna.tsinghua.edu.cn:443"];
    assert_eq!(proxy.asked(), expected);
    let channels = image.run("conda config --show channels").ok();
    let tuna = "  - https://mirrors.tuna.tsinghua.edu.cn/anaconda/";
    assert_eq!(channels.lines().filter(|line| line.starts_with(tuna)).count(), 7, "{channels}");
    assert_eq!(channels.lines().nth(1), Some(format!("{tuna}pkgs/main").as_str()));
}

#[test]
fn a_default_build_knows_no_mirror() {
    images::build().unwrap();
    let (base, image) = (Image::existing(images::TESTBASE), Image::existing(images::NOTEBOOK));
    assert_eq!(image.run(FEATURES).ok(), "x11forwarding no\nsubsystem sftp internal-sftp\n");
    let modes =
        "find /opt/fairlead /etc/services.d/sshd /etc/profile.d/zz-fairlead.sh -printf '%y%m %U:%G\n' | sort -u";
    assert_eq!(image.run(modes).ok(), "d755 0:0\nf644 0:0\nf755 0:0\n");
    let sources = "ls -lR --time-style=+%s /etc/apt && cat /etc/apt/sources.list && cat /etc/apt/apt.conf.d/*";
    assert_eq!(image.run(sources).ok(), base.run(sources).ok());
    assert_eq!(
        image.run("pip config list; ls -A ~; ls -A /opt/conda").ok(),
        base.run("ls -A ~; ls -A /opt/conda").ok()
    );
    assert_eq!(image.run("ls /etc/pip.conf ~/.config/pip /opt/conda/.condarc ~/.condarc").out, "");
    assert_eq!(image.run("conda config --show channels").ok(), "channels:\n");
    assert!(!image.run("env").ok().to_lowercase().contains("proxy"));
    for trace in ["aliyun", "tsinghua", "baidubce"] {
        assert!(!image.configuration().contains(trace) && image.files_with(trace).is_empty(), "{trace}");
    }
}

/// The package lists among `asked`, by the folder of their suite, sorted.
fn lists_among(asked: &[String]) -> Vec<String> {
    let mut lists: Vec<_> =
        asked.iter().filter_map(|path| path.strip_suffix("/InRelease")).map(str::to_owned).collect();
    lists.sort();
    lists.dedup();
    lists
}
