// The dashboard's side of the messages: an app says that it is there, and hears of the namespace, then and whenever
// another is picked. The address above follows the frame.
"use strict";

const frame = document.querySelector("iframe");
const picker = document.querySelector("#namespace");
let app = null;

function tell() {
  if (!frame || app === null) return;
  const all = [...picker.options].map((option) => option.value).filter((name) => name !== "");
  const message = picker.value === ""
    ? { type: "all-namespaces", value: all }
    : { type: "namespace-selected", value: picker.value };
  frame.contentWindow.postMessage(message, app);
}

window.addEventListener("message", (event) => {
  if (!event.data || event.data.type !== "iframe-connected") return;
  app = event.origin;
  frame.contentWindow.postMessage({ type: "parent-connected", value: null }, app);
  tell();
});

picker.addEventListener("change", () => {
  const address = new URL(window.location.href);
  address.searchParams.set("ns", picker.value);
  window.history.replaceState(null, "", address);
  tell();
});

document.querySelector("#fairlead").addEventListener("click", (event) => {
  if (picker.value !== "") event.currentTarget.search = new URLSearchParams({ ns: picker.value });
});

function follow() {
  const { pathname, search, hash } = frame.contentWindow.location;
  window.history.replaceState(null, "", `/_${pathname}${search}${hash}`);
}

if (frame) {
  frame.addEventListener("load", () => {
    // An app at another origin cannot be looked into.
    if (!frame.contentDocument) return;
    follow();
    frame.contentDocument.addEventListener("click", () => setTimeout(follow));
  });
}
