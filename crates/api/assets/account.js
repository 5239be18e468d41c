// Passkeys, and the conveniences of the setup form.
// Contract: everything but passkeys works without this script; text from the server is set as text, never as HTML.
"use strict";
(() => {
  const find = (selector, parent = document) => parent.querySelector(selector);

  // Binary fields travel as base64url without padding.
  const toBytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
  };
  const toText = (buffer) => {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };

  async function post(address, body) {
    let answer;
    try {
      answer = await fetch(address, {
        method: "POST",
        cache: "no-store",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        body: JSON.stringify(body ?? {}),
      });
    } catch {
      throw new Error("The server cannot be reached");
    }
    const read = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(read.error || `The server answered ${answer.status}`);
    return read;
  }

  async function signIn(next) {
    const asked = await post("/api/passkey/login/begin");
    const options = asked.publicKey;
    options.challenge = toBytes(options.challenge);
    const credential = await navigator.credentials.get({ publicKey: options });
    const { authenticatorData, clientDataJSON, signature, userHandle } = credential.response;
    const query = new URLSearchParams([["challengeKey", asked.challengeKey], ["next", next]]);
    const done = await post(`/api/passkey/login/finish?${query}`, {
      id: credential.id,
      rawId: toText(credential.rawId),
      type: credential.type,
      response: {
        authenticatorData: toText(authenticatorData),
        clientDataJSON: toText(clientDataJSON),
        signature: toText(signature),
        userHandle: userHandle ? toText(userHandle) : null,
      },
    });
    location.assign(done.redirect);
  }

  async function register(name) {
    const asked = await post("/api/passkey/register/begin");
    const options = asked.publicKey;
    options.challenge = toBytes(options.challenge);
    options.user.id = toBytes(options.user.id);
    for (const known of options.excludeCredentials ?? []) known.id = toBytes(known.id);
    const credential = await navigator.credentials.create({ publicKey: options });
    const { attestationObject, clientDataJSON } = credential.response;
    const query = new URLSearchParams([["name", name]]);
    await post(`/api/passkey/register/finish?${query}`, {
      id: credential.id,
      rawId: toText(credential.rawId),
      type: credential.type,
      response: {
        attestationObject: toText(attestationObject),
        clientDataJSON: toText(clientDataJSON),
        transports: credential.response.getTransports?.() ?? [],
      },
    });
  }

  const told = (error) => {
    if (error.name === "NotAllowedError") return "Cancelled, or it took too long.";
    if (error.name === "InvalidStateError") return "This device has a passkey for this account already.";
    return error.message;
  };

  // Without https browsers have no passkeys, save on this very machine.
  if (window.PublicKeyCredential) {
    for (const area of document.querySelectorAll("[data-passkeys]")) area.hidden = false;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-passkey-login], [data-passkey-register]");
    if (!button) return;
    const area = button.closest("[data-passkeys]");
    const [problem, done] = [find("[data-passkey-problem]", area), find("[data-passkey-done]", area)];
    problem.textContent = "";
    button.disabled = true;
    try {
      if ("passkeyLogin" in button.dataset) {
        await signIn(button.dataset.passkeyLogin);
      } else {
        await register(button.dataset.passkeyRegister);
        done.textContent = "The passkey is registered.";
      }
    } catch (error) {
      problem.textContent = told(error);
    }
    button.disabled = false;
  });

  const setup = find("[data-setup]");
  if (setup) {
    const [token, password, repeat] = ["token", "password", "repeat"].map((name) => setup.elements[name]);
    // What stands behind the # is not sent to any server, so a link may carry the token.
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given) {
      token.value = given;
      history.replaceState(null, "", location.pathname);
      setup.elements.username.focus();
    }
    const compare = () => repeat.setCustomValidity(password.value === repeat.value ? "" : "The passwords differ");
    password.addEventListener("input", compare);
    repeat.addEventListener("input", compare);
  }
})();
