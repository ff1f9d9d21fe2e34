//! Images as `images/notebook/scripts/build` makes them, in the storage of the lab's images, and a look inside.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use fairlead_lab::paths;

use crate::harness::{Said, measured, run};

/// An image with a container to look at it. What the test made goes with this value.
pub(super) struct Image {
    pub(super) name: String,
    container: String,
    made: bool,
}

impl Image {
    /// Builds a Dockerfile that needs no files.
    pub(super) fn new(name: &str, dockerfile: &str) -> Self {
        let context = tempfile::tempdir().unwrap();
        fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
        let build = |tag: &str| run(buildah(&["build", "--layers=false", "--tag", tag]).arg(context.path()));
        Self::made(name, build)
    }

    /// Builds the layer on `base`, as an image builder does.
    pub(super) fn layer(name: &str, base: &str, options: &[&str]) -> Self {
        Self::made(name, |tag| {
            let began = Instant::now();
            let said = run(in_storage(script()).args(["--base", base, "--tag", tag]).args(options));
            measured(&format!("the layer built as {tag}"), began.elapsed());
            said
        })
    }

    /// An image of the lab. It stays.
    pub(super) fn existing(name: &str) -> Self {
        let container = run(&mut buildah(&["from", name])).ok().trim().to_owned();
        Self { name: name.to_owned(), container, made: false }
    }

    fn made(name: &str, build: impl FnOnce(&str) -> Said) -> Self {
        // The same name in each run, so that one that was killed leaves nothing behind for long.
        let name = format!("fairlead.local/it-mirrors:{name}");
        // Two builds in one storage would take each other's files for their own.
        let lock = paths::lock(&paths::cache().unwrap().join("images/lock")).unwrap();
        build(&name).ok();
        drop(lock);
        let mut image = Self::existing(&name);
        image.made = true;
        image
    }

    /// Runs a script in the container, as the image's user.
    pub(super) fn run(&self, script: &str) -> Said {
        run(&mut buildah(&["run", &self.container, "--", "bash", "-c", script]))
    }

    /// What the image says of itself, its history included.
    pub(super) fn configuration(&self) -> String {
        run(&mut buildah(&["inspect", "--type", "image", &self.name])).ok()
    }

    /// Every file that contains `text`, sorted.
    pub(super) fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let root = run(&mut buildah(&["mount", &self.container])).ok();
        let root = root.trim_end();
        let found = run(Command::new("grep").args(["-rlsF", "--devices=skip", "-e", text, root]).env("LC_ALL", "C"));
        // Unmounted by hand: a container that is still mounted stays.
        run(&mut buildah(&["umount", &self.container])).ok();
        let mut files: Vec<PathBuf> =
            found.out.lines().filter_map(|file| file.strip_prefix(root)).map(PathBuf::from).collect();
        files.sort();
        files
    }
}

impl Drop for Image {
    /// Best effort, also after a panic.
    fn drop(&mut self) {
        if !self.container.is_empty() {
            run(&mut buildah(&["rm", &self.container]));
        }
        if self.made {
            run(&mut buildah(&["rmi", &self.name]));
        }
    }
}

#[test]
fn a_base_without_init_gets_it_from_the_downloads_folder() {
    // A copy, so that the project's own folder stays empty.
    let copy = tempfile::tempdir().unwrap();
    let layer = paths::project().join("images/notebook");
    run(Command::new("cp").arg("-a").arg(format!("{}/.", layer.display())).arg(copy.path())).ok();
    let downloads = copy.path().join("downloads");
    // What stands in for s6-overlay: one file in each archive. A build that asked the network would not have them.
    let pack = "set -eu; cd \"$1\"; arch=$(uname -m); mkdir root; printf '#!/bin/sh\\nset -eu\\n# from downloads\\n' >root/init
        chmod 755 root/init; tar -C root -cJf s6-overlay-noarch.tar.xz init; echo \"$arch\" >root/arch
        tar -C root -cJf \"s6-overlay-$arch.tar.xz\" arch; for file in *.tar.xz; do sha256sum \"$file\" >\"$file.sha256\"; done";
    run(Command::new("bash").args(["-c", pack, "pack"]).arg(&downloads)).ok();
    let base = Image::new("no-init", "FROM fairlead.local/testbase:1\nUSER root\nRUN rm /init\nUSER 1000\n");
    let build = |tag: &str| {
        run(in_storage(Command::new(copy.path().join("scripts/build"))).args(["--base", &base.name, "--tag", tag]))
    };
    let image = Image::made("downloads", build);
    assert_eq!(
        image.run("cat /init /arch").ok(),
        format!("#!/bin/sh\nset -eu\n# from downloads\n{}\n", std::env::consts::ARCH)
    );

    // An archive that is not what its sum says is not installed.
    fs::write(downloads.join("s6-overlay-noarch.tar.xz"), "something else").unwrap();
    let lock = paths::lock(&paths::cache().unwrap().join("images/lock")).unwrap();
    let said = build("fairlead.local/it-mirrors:damaged");
    drop(lock);
    assert!(said.code != Some(0), "{said:?}");
    assert!(
        format!("{}{}", said.out, said.err).contains("s6-overlay-noarch.tar.xz does not match its sha256"),
        "{said:?}"
    );
}

#[test]
fn the_script_says_what_is_wrong_and_what_it_would_run() {
    let folder = tempfile::tempdir().unwrap();
    let docker = folder.path().join("docker");
    fs::write(&docker, "#!/bin/sh\nset -eu\nexit 9\n").unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let says = |builder: &str, options: &str| {
        let mut command = in_storage(script());
        command.env("PATH", &path).env("FAIRLEAD_BUILDER", builder).args([
            "--dry-run",
            "--base",
            "b",
            "--tag",
            "r/t:1",
        ]);
        run(command.args(options.split_whitespace()))
    };

    let usual = "--build-arg BASE_IMG=b";
    let context = paths::project().join("images/notebook");
    let context = context.display();
    for (builder, options, lines) in [
        ("buildah", "", format!("buildah build --isolation chroot --tag r/t:1 {usual} {context}\n")),
        (
            "buildah",
            "--mirror china --keep-mirrors --push",
            format!(
                "buildah build --isolation chroot --tag r/t:1 {usual} --build-arg MIRROR=china \
                 --build-arg KEEP_MIRRORS=yes {context}\nbuildah push r/t:1\n"
            ),
        ),
        (
            "buildah",
            "--platform linux/amd64,linux/arm64 --push",
            format!(
                "buildah build --isolation chroot --platform linux/amd64\\,linux/arm64 --manifest r/t:1 {usual} \
                 {context}\nbuildah manifest push --all r/t:1 docker://r/t:1\n"
            ),
        ),
        ("docker", "", format!("docker buildx build --tag r/t:1 --load {usual} {context}\n")),
        (
            "docker",
            "--platform linux/amd64,linux/arm64 --push --build-arg A=1",
            format!(
                "docker buildx build --tag r/t:1 --platform linux/amd64\\,linux/arm64 --push {usual} --build-arg A=1 \
                 {context}\n"
            ),
        ),
    ] {
        assert_eq!(says(builder, options).ok(), lines, "{builder} {options}");
    }
    for (builder, options, reason) in [
        ("buildah", "--mirror mars", "there is no mirror preset `mars`\nhint: ls "),
        ("buildah", "--mirror", "`--mirror` needs a value"),
        ("buildah", "--build-arg PIP_INDEX_URL", "`--build-arg` needs NAME=VALUE, not `PIP_INDEX_URL`"),
        ("buildah", "--mirrors china", "unknown option `--mirrors`\nhint: scripts/build --help"),
        (
            "docker",
            "--platform linux/amd64,linux/arm64",
            "docker cannot keep an image of several platforms\nhint: add ",
        ),
        ("bash", "", "FAIRLEAD_BUILDER must be buildah or docker, not `bash`"),
    ] {
        let said = says(builder, options);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{options}: {said:?}");
        assert!(said.err.starts_with(&format!("error: {reason}")), "{options}: {said:?}");
    }
    for (options, missing) in [(["--tag", "t"], "base"), (["--base", "b"], "tag")] {
        let said = run(in_storage(script()).args(options));
        assert!(said.code == Some(2) && said.err.contains(&format!("`--{missing}` is missing")), "{said:?}");
    }
}

fn script() -> Command {
    Command::new(paths::project().join("images/notebook/scripts/build"))
}

fn buildah(arguments: &[&str]) -> Command {
    let mut command = in_storage(Command::new("buildah"));
    command.args(arguments);
    command
}

/// As `lab/build-images` runs buildah. The machine's own proxy must not come between a build and a mirror on loopback.
fn in_storage(mut command: Command) -> Command {
    let storage = paths::cache().unwrap().join("images/storage/storage.conf");
    command.env("CONTAINERS_STORAGE_CONF", storage).env_remove("STORAGE_DRIVER");
    command.env("BUILDAH_ISOLATION", "chroot").env("FAIRLEAD_BUILDER", "buildah");
    for name in ["http_proxy", "https_proxy", "no_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}
