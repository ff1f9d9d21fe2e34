// What the pages do beyond forms and links: copy, follow the cluster, and live inside the dashboard's frame. Without
// it everything still works, by loading the page again.
"use strict";

const prefix = document.body.dataset.prefix;
const said = document.getElementById("said");
let hush;

function say(text) {
  said.textContent = text;
  clearTimeout(hush);
  hush = setTimeout(() => { said.textContent = ""; }, 6000);
}

// Copies what the button names, or the text before it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copy);
  const text = from.textContent;
  try {
    await navigator.clipboard.writeText(text);
    say(document.body.dataset.copied);
  } catch {
    // A frame may not be allowed to: select it, so that the usual keys do it.
    getSelection().selectAllChildren(from);
  }
});

// A menu closes when the focus leaves it, or by Escape.
document.addEventListener("focusout", (event) => {
  const menu = event.target.closest("details.menu");
  if (menu && event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest && event.target.closest("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

// A key's file is read here and put into the field, so that one sees what is sent.
document.addEventListener("change", async (event) => {
  const field = event.target.dataset && event.target.dataset.into;
  if (field && event.target.files.length) document.getElementById(field).value = (await event.target.files[0].text()).slice(0, 20000);
});

// What the server says beside an answer.
document.body.addEventListener("said", (event) => say(event.detail.value));
document.body.addEventListener("htmx:sendError", () => say(document.body.dataset.away));
document.body.addEventListener("htmx:responseError", (event) => {
  const holder = document.createElement("template");
  holder.innerHTML = event.detail.xhr.responseText;
  say(holder.content.textContent.trim());
});

// A list to choose from is chosen from at once.
document.addEventListener("change", (event) => { if (event.target.matches("select[data-submit]")) event.target.form.submit(); });

// The list of notebooks follows the cluster: an event for each card that is new, changed or gone.
function follow(list) {
  let source = new EventSource(list.dataset.events);
  source.addEventListener("card", (event) => {
    const { id, key, html, state } = JSON.parse(event.data);
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const card = holder.content.firstElementChild;
    const old = document.getElementById(id);
    if (old) {
      const focused = old.contains(document.activeElement) && document.activeElement.id;
      const open = [...old.querySelectorAll("details")].map((one) => one.open);
      const before = old.dataset.state;
      old.replaceWith(card);
      card.querySelectorAll("details").forEach((one, at) => { one.open = open[at] || false; });
      if (focused) document.getElementById(focused)?.focus();
      if (before !== card.dataset.state) say(state);
    } else {
      const next = [...list.children].find((one) => one.dataset.key > key);
      list.insertBefore(card, next || null);
    }
    card.classList.add("fresh");
    window.htmx?.process(card);
    list.dispatchEvent(new CustomEvent("changed", { bubbles: true }));
  });
  source.addEventListener("gone", (event) => document.getElementById(event.data)?.remove());
  source.addEventListener("summary", (event) => { document.getElementById("summary").innerHTML = event.data; window.htmx?.process(document.getElementById("summary")); });
  source.addEventListener("reload", () => location.reload());
  // Closed for good, as by a server that has no place: a list that no longer follows must not look as if it did.
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    say(document.body.dataset.away);
    setTimeout(() => location.reload(), 10000);
  });
  addEventListener("pagehide", () => source.close());
}
const list = document.querySelector("[data-events]");
if (list) follow(list);

// Inside the dashboard: no head of our own, and the namespace that is picked there.
if (window.parent !== window) document.documentElement.classList.add("framed");
const library = window.centraldashboard && window.centraldashboard.CentralDashboardEventHandler;
if (library) {
  library.init((handler, isIframed) => {
    if (!isIframed) return;
    document.documentElement.classList.add("framed");
    const go = (namespace) => {
      const url = new URL(location.href);
      if ((url.searchParams.get("ns") || "") === (namespace || "")) return;
      if (namespace) url.searchParams.set("ns", namespace); else url.searchParams.delete("ns");
      location.replace(url);
    };
    // Only the list is of one namespace. Another page may show what is shown once, as a code.
    if (!list) return;
    handler.onNamespaceSelected = go;
    handler.onAllNamespacesSelected = () => go("");
  });
}
