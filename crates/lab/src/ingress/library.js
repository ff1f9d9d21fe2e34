// What an app loads from the dashboard to hear of the namespace. Written for Fairlead's tests after the behaviour of
// Kubeflow's own library: the same names and the same messages.
"use strict";

var centraldashboard = (() => {
  const heard = { onParentConnected: null, onNamespaceSelected: null, onAllNamespacesSelected: null };

  function listen(event) {
    const message = event.data || {};
    if (message.type === "parent-connected") heard.onParentConnected?.(message);
    if (message.type === "namespace-selected") heard.onNamespaceSelected?.(message.value);
    if (message.type === "all-namespaces") heard.onAllNamespacesSelected?.(message.value);
  }

  const handler = {
    get isIframed() {
      return window.location !== window.parent.location;
    },

    // Calls back first, so that the app says what it wants to hear before anything is said.
    init(callback, disableForceIframe = false) {
      callback(handler, handler.isIframed);
      if (handler.isIframed) {
        window.addEventListener("message", listen);
        window.parent.postMessage({ type: "iframe-connected" }, window.parent.origin);
      } else if (!disableForceIframe) {
        fetch("/api/dashboard-settings").then((answer) => answer.json()).then((settings) => {
          if (settings.DASHBOARD_FORCE_IFRAME) {
            const { pathname, search, hash } = window.location;
            window.location.replace(`/_${pathname}${search}${hash}`);
          }
        }).catch((error) => console.error(error));
      }
    },

    detach() {
      window.removeEventListener("message", listen);
    },
  };

  for (const name of Object.keys(heard)) {
    Object.defineProperty(handler, name, {
      set(callback) {
        if (typeof callback === "function") heard[name] = callback;
      },
    });
  }
  return { CentralDashboardEventHandler: handler };
})();
