// Plays one stream at a time, keeps it playing, and keeps the page's words up to date.
// Contract: every page is usable without this script; text from the server is set as text, never as HTML.
"use strict";
(() => {
  const TITLE = document.title;
  const CONNECT_MS = 10_000;
  const STARVED_MS = 12_000;
  // For what the feed does not tell: that another mount stands in for the one that is awaited.
  const LOOK_MS = 30_000;
  const RETRY_SECONDS = [1, 2, 4, 8, 15, 30];
  const MOST_TRIES = 10;

  const find = (selector, parent = document) => parent.querySelector(selector);
  const findAll = (selector, parent = document) => [...parent.querySelectorAll(selector)];
  const setText = (element, text) => {
    // Setting the same text again would make screen readers repeat it.
    if (element && element.textContent !== text) element.textContent = text;
  };
  const remember = (key, value) => {
    try { localStorage.setItem(key, value); } catch { /* private windows may refuse */ }
  };
  const recall = (key) => {
    try { return localStorage.getItem(key); } catch { return null; }
  };

  // ---- Playing -------------------------------------------------------------------------------------------------

  const audio = new Audio();
  audio.preload = "none";
  // What is meant to play: path, mount, source, name, type, song. None while stopped.
  let current = null;
  // What was stopped last; the system's play button brings it back.
  let last = null;
  // idle, connecting, playing, buffering, reconnecting, blocked, offair or failed
  let state = "idle";
  let tries = 0;
  let playingSince = 0;
  let timer = 0;

  const isActive = () => ["connecting", "playing", "buffering", "reconnecting"].includes(state);

  const words = () => ({
    connecting: "Connecting…",
    buffering: "Buffering…",
    reconnecting: "Connection lost, trying again…",
    blocked: "The browser wants another click to play",
    offair: "Off air. Press play to try again",
    failed: "This browser cannot play this format. An app can: use a playlist file",
  }[state] || "");

  function enter(next, after, then) {
    clearTimeout(timer);
    state = next;
    if (then) timer = setTimeout(then, after);
    paint();
  }

  function start(element) {
    const { path, mount, source, name, type } = element.dataset;
    current = { path, mount, source, name, type, song: find("[data-song]", element)?.textContent || "" };
    tries = 0;
    connect();
    announce();
    follow();
  }

  function stop() {
    enter("idle");
    last = current;
    current = null;
    // Pausing alone would leave the connection open, and the listener ever further behind.
    release();
    paint();
    announce();
    follow();
  }

  function release() {
    audio.pause();
    audio.removeAttribute("src");
    audio.load();
  }

  function connect() {
    enter("connecting", CONNECT_MS, lose);
    playingSince = 0;
    audio.src = current.path;
    const attempt = current;
    audio.play().catch((error) => {
      if (attempt !== current || error.name === "AbortError") return;
      if (error.name === "NotAllowedError") {
        release();
        enter("blocked");
      }
      // Any other failure also fires `error`.
    });
  }

  function lose() {
    if (!current || !isActive() || state === "reconnecting") return;
    const unsupported = audio.error?.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED;
    if (playingSince && Date.now() - playingSince > 10_000) tries = 0;
    tries += 1;
    if (unsupported && !audio.canPlayType(current.type)) {
      release();
      enter("failed");
    } else if (tries > MOST_TRIES) {
      release();
      enter("offair");
    } else {
      const seconds = RETRY_SECONDS[Math.min(tries, RETRY_SECONDS.length) - 1];
      enter("reconnecting", seconds * 1000 * (0.75 + Math.random() / 2), connect);
    }
  }

  audio.addEventListener("playing", () => {
    if (!current) return;
    playingSince ||= Date.now();
    enter("playing");
  });
  audio.addEventListener("waiting", () => {
    if (state === "playing") enter("buffering", STARVED_MS, lose);
  });
  audio.addEventListener("timeupdate", () => {
    if (state === "buffering" && !audio.paused && audio.readyState > 2) enter("playing");
  });
  audio.addEventListener("pause", () => {
    // Headphones that are unplugged and the system's own buttons pause; nothing else does while playing.
    if (state === "playing" && !audio.ended && !audio.error) stop();
  });
  audio.addEventListener("ended", lose);
  audio.addEventListener("error", () => { if (audio.hasAttribute("src")) lose(); });
  addEventListener("online", () => { if (state === "reconnecting") connect(); });

  function announce() {
    const session = navigator.mediaSession;
    if (!session || !window.MediaMetadata) return;
    session.playbackState = current ? "playing" : "paused";
    session.metadata = current && new MediaMetadata({
      title: current.song || current.name,
      artist: current.song ? current.name : "",
      album: find(".brand-name")?.textContent || "",
    });
  }
  const resume = () => {
    current ||= last;
    if (!current || isActive()) return;
    tries = 0;
    connect();
    announce();
    follow();
  };
  if (navigator.mediaSession) {
    for (const [action, act] of [["pause", stop], ["stop", stop], ["play", resume]]) {
      try { navigator.mediaSession.setActionHandler(action, act); } catch { /* not every browser has every action */ }
    }
  }

  // ---- Showing -------------------------------------------------------------------------------------------------

  function paint() {
    for (const element of findAll("[data-stream]")) {
      const mine = current?.path === element.dataset.path;
      if (mine && state !== "idle") element.dataset.state = state;
      else delete element.dataset.state;
      const button = find("[data-play]", element);
      const verb = mine && isActive() ? "Stop" : "Play";
      button?.setAttribute("aria-label", `${verb} ${element.dataset.name}`);
      const gone = element.classList.contains("gone");
      setText(find("[data-status]", element), mine ? words() : gone ? "Off air" : "");
      setText(find("[data-badge]", element), gone ? "Off air" : "On air");
    }
    const dock = find("#dock");
    if (dock) {
      dock.hidden = !current;
      document.body.classList.toggle("docked", Boolean(current));
      if (current) {
        dock.dataset.state = state;
        const name = find("[data-dock-name]", dock);
        name.href = `/player${current.path}`;
        setText(name, current.name);
        setText(find("[data-dock-song]", dock), words() || current.song);
        find("[data-dock-play]", dock).setAttribute("aria-label", `${isActive() ? "Stop" : "Play"} ${current.name}`);
      }
    }
    if (find("[data-player]")) {
      document.title = state === "playing" && current.song ? `▶ ${current.song} — ${current.name}` : TITLE;
    }
  }

  document.addEventListener("click", (event) => {
    const play = event.target.closest("[data-play]");
    if (play) {
      const element = play.closest("[data-stream]");
      if (current?.path === element.dataset.path && isActive()) stop();
      else start(element);
    } else if (event.target.closest("[data-dock-play]")) {
      if (isActive()) stop();
      else resume();
    } else if (event.target.closest("[data-mute]")) {
      setVolume(audio.volume, !audio.muted);
    } else {
      const copier = event.target.closest("[data-copy]");
      if (copier) copy(copier);
    }
  });

  document.addEventListener("keydown", (event) => {
    const element = find("[data-player]");
    const busy = event.target.closest?.("a, button, input, textarea, select, summary");
    if (!element || busy || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " || event.key === "k") {
      event.preventDefault();
      find("[data-play]", element).click();
    } else if (event.key === "m") {
      setVolume(audio.volume, !audio.muted);
    }
  });

  async function copy(button) {
    const field = document.getElementById(button.dataset.copy);
    let copied = true;
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      // Without https there is no clipboard to write to, but a selection can be copied.
      field.select();
      copied = document.execCommand("copy");
    }
    setText(button, copied ? "Copied" : "Press Ctrl+C");
    setTimeout(() => setText(button, "Copy"), 2000);
  }

  // ---- Volume --------------------------------------------------------------------------------------------------

  function setVolume(level, muted) {
    audio.volume = level;
    audio.muted = muted;
    remember("volume", String(Math.round(level * 100)));
    remember("muted", String(muted));
    showVolume();
  }

  function showVolume() {
    for (const slider of findAll("[data-volume]")) slider.value = Math.round(audio.volume * 100);
    for (const button of findAll("[data-mute]")) button.setAttribute("aria-pressed", String(audio.muted));
  }

  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-volume]")) setVolume(event.target.value / 100, false);
  });

  // ---- Keeping up to date --------------------------------------------------------------------------------------

  const uptime = (began) => {
    const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(began)) / 1000));
    const [minutes, hours, days] = [60, 3600, 86_400].map((unit) => Math.floor(seconds / unit));
    if (days) return `${days}d ${hours % 24}h`;
    if (hours) return `${hours}h ${minutes % 60}m`;
    return minutes ? `${minutes}m` : `${seconds}s`;
  };

  async function request(address, options) {
    const abort = new AbortController();
    const limit = setTimeout(() => abort.abort(), 8000);
    try {
      return await fetch(address, { cache: "no-store", signal: abort.signal, ...options });
    } finally {
      clearTimeout(limit);
    }
  }

  // What the feed says of each mount on air.
  const told = new Map();
  // The mounts of the public list as they were told last.
  let listed = null;
  let feed = null;
  let showing = 0;
  let looking = false;

  // A list follows what is public. A player follows its own mounts, which need not be public.
  function feedAddress() {
    if (find("#streams")) return "/events";
    const awaited = document.body.dataset.await;
    const mounts = new Set(awaited ? [awaited] : []);
    for (const { dataset } of findAll("[data-stream]")) mounts.add(dataset.mount).add(dataset.source);
    if (!mounts.size) return null;
    const query = new URLSearchParams([["events", "stream,gone"]]);
    for (const mount of mounts) query.append("mount", mount);
    return `/events?${query}`;
  }

  // Browsers open few connections to one server, so a page has a feed only while somebody looks or listens.
  function follow() {
    const embedded = document.body.classList.contains("embed") && !document.body.dataset.await;
    const wanted = current || !(document.hidden || embedded);
    if (!wanted) {
      feed?.close();
      feed = null;
    } else if (!feed) {
      const address = feedAddress();
      if (address) open(address);
    }
  }

  function open(address) {
    const opened = feed = new EventSource(address);
    const on = (name, act) => opened.addEventListener(name, (event) => {
      if (opened === feed) act(event.data && JSON.parse(event.data));
    });
    on("open", () => {
      told.clear();
      show(1000);
    });
    on("message", (mounts) => list(mounts.map(({ mount }) => mount)));
    on("stream", (stream) => {
      told.set(stream.mount, stream);
      show(100);
    });
    on("gone", ({ mount }) => {
      told.delete(mount);
      show(100);
    });
    on("error", () => {
      // Lost connections come back by themselves; refusals are for good unless we ask again.
      if (opened.readyState !== EventSource.CLOSED) return;
      feed = null;
      setTimeout(follow, 30_000 * (0.75 + Math.random() / 2));
    });
  }

  const onAir = ({ mount, source }) => [mount, source].map((name) => told.get(name)).find((one) => one?.live);

  // The events of a burst are shown together.
  function show(after) {
    clearTimeout(showing);
    showing = setTimeout(() => {
      for (const element of findAll("[data-stream]")) update(element);
      const stream = current && onAir(current);
      if (stream) updateCurrent(stream);
      if (document.body.dataset.await && told.get(document.body.dataset.await)?.live) lookAgain();
      paint();
    }, after);
  }

  function update(element) {
    const stream = onAir(element.dataset);
    // The feed may be late, so a player believes its own ears.
    element.classList.toggle("gone", !stream && !(current?.path === element.dataset.path && state === "playing"));
    if (!stream) return;
    setText(find("[data-song]", element), stream.title);
    const count = stream.listeners;
    setText(find("[data-listeners]", element), `${count.toLocaleString("en")} ${count === 1 ? "listener" : "listeners"}`);
    element.dataset.began = stream.started_at;
    setText(find("[data-uptime]", element), uptime(element.dataset.began));
  }

  function updateCurrent(stream) {
    if (stream.title !== current.song) {
      current.song = stream.title;
      announce();
    }
    if (state === "offair") resume();
  }

  function list(mounts) {
    const element = find("#streams");
    if (!element) return;
    const cards = findAll("[data-stream]", element).map((card) => card.dataset.mount);
    const now = mounts.sort().join("\n");
    const stale = cards.some((mount) => !mounts.includes(mount)) || (!cards.length && mounts.length > 0);
    const changed = listed === null ? stale : listed !== now;
    listed = now;
    // Not all pages at once.
    if (changed) setTimeout(() => reload(element).catch(() => { listed = null; }), Math.random() * 2000);
  }

  // Which mounts are shown, and how, is the server's decision, so the list is taken from its page.
  async function reload(list) {
    const answer = await request(location.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = find("#streams", page);
    if (!fresh || find("details[open]", list)?.contains(document.activeElement)) return;
    const focused = document.activeElement?.closest("[data-stream]")?.dataset.path;
    list.replaceChildren(...fresh.childNodes);
    const again = focused && findAll("[data-stream]", list).find((element) => element.dataset.path === focused);
    if (again) find("[data-play]", again).focus();
    show(0);
  }

  // A page about a mount that is off air shows its player when there is one again.
  async function lookAgain() {
    if (looking || document.hidden) return;
    looking = true;
    try {
      const answer = await request(location.href, { method: "HEAD" });
      if (answer.ok) location.reload();
    } catch { /* the network comes back or it does not */ }
    looking = false;
  }

  // ---- Beginning -----------------------------------------------------------------------------------------------

  audio.volume = 0.5;
  // Some phones leave the volume to their buttons.
  if (audio.volume !== 0.5) document.documentElement.classList.add("fixed-volume");
  const level = Number.parseInt(recall("volume") ?? "80", 10);
  audio.volume = (level >= 0 && level <= 100 ? level : 80) / 100;
  audio.muted = recall("muted") === "true";
  showVolume();
  document.documentElement.classList.add("js");
  paint();
  follow();
  document.addEventListener("visibilitychange", follow);
  if (document.body.dataset.await) setInterval(lookAgain, LOOK_MS * (0.9 + Math.random() / 5));
})();
