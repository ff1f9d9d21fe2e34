//! Links that open an editor on a notebook. They are built on the alias in the person's ssh_config and hold nothing
//! else: no key, no token, nothing that acts by itself.

/// An editor.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Editor {
    /// Its own name.
    pub(super) name: &'static str,
    /// What opens it on the notebook's home.
    pub(super) link: String,
}

/// The home of every notebook.
const HOME: &str = "/home/jovyan";

/// All editors, for a notebook's host name.
pub(super) fn editors(host: &str) -> Vec<Editor> {
    let code = |scheme: &str| format!("{scheme}://vscode-remote/ssh-remote+{host}{HOME}?windowId=_blank");
    [
        ("VS Code", code("vscode")),
        ("VS Code Insiders", code("vscode-insiders")),
        ("Cursor", code("cursor")),
        ("Windsurf", code("windsurf")),
        ("Zed", format!("zed://ssh/{host}{HOME}")),
        (
            "JetBrains Gateway",
            format!(
                "jetbrains-gateway://connect#type=ssh&deploy=false&host={host}&port=2209&user=jovyan&projectPath={HOME}"
            ),
        ),
    ]
    .into_iter()
    .map(|(name, link)| Editor { name, link })
    .collect()
}
