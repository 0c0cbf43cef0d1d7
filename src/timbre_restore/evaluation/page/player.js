"use strict";
// One player per article. Its sounds all play at once with all but one muted, so switching systems keeps the position.
const STEP_S = 1, DRIFT_S = 0.03;
const TURNS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
const RESTORED = document.querySelector("main").dataset.restored;

function Player(article) {
  const sounds = [...article.querySelectorAll("audio")], buttons = [...article.querySelectorAll("[role=radio]")];
  const play = article.querySelector(".play"), bar = article.querySelector("input[type=range]");
  const lines = [...article.querySelectorAll(".now")];
  let at = Math.max(0, sounds.findIndex((s) => s.dataset.system === RESTORED));
  const self = { article, sounds, get at() { return at; } };

  function length() { return sounds[at].duration || 0; }
  self.choose = (number) => {
    if (number < 0 || number >= sounds.length) return;
    const place = sounds[at].currentTime;
    if (Math.abs(sounds[number].currentTime - place) > DRIFT_S) sounds[number].currentTime = place;
    at = number;
    sounds.forEach((s, n) => { s.muted = n !== at; });
    buttons.forEach((b, n) => { b.setAttribute("aria-checked", String(n === at)); b.tabIndex = n === at ? 0 : -1; });
  };
  self.turn = (step) => { // as radio buttons behave
    self.choose((at + step + sounds.length) % sounds.length);
    buttons[at].focus();
  };
  self.seek = (second) => {
    const place = Math.min(Math.max(0, second), Math.max(0, length() - 0.01));
    sounds.forEach((s) => { s.currentTime = place; });
    show();
  };
  self.pause = () => { sounds.forEach((s) => s.pause()); play.textContent = "▶"; };
  self.play = () => {
    players.forEach((p) => { if (p !== self) p.pause(); });
    if (sounds[at].ended) self.seek(0);
    const place = sounds[at].currentTime;
    sounds.forEach((s) => { s.currentTime = place; });
    Promise.all(sounds.map((s) => s.play())).catch(() => self.pause());
    play.textContent = "❚❚";
    requestAnimationFrame(tick);
  };
  self.toggle = () => (sounds[at].paused ? self.play() : self.pause());
  self.move = (second) => self.seek(sounds[at].currentTime + second);

  function show() {
    const share = length() ? sounds[at].currentTime / length() : 0;
    bar.value = String(Math.round(1000 * share));
    lines.forEach((line) => { line.style.left = `${100 * share}%`; });
  }
  function tick() {
    show();
    if (sounds[at].ended) self.pause();
    else if (!sounds[at].paused) requestAnimationFrame(tick);
  }
  play.addEventListener("click", () => { current = self; self.toggle(); });
  bar.addEventListener("input", () => { current = self; self.seek(length() * bar.value / 1000); });
  buttons.forEach((b, n) => b.addEventListener("click", () => { current = self; self.choose(n); }));
  article.addEventListener("focusin", () => { current = self; });
  self.choose(at);
  return self;
}

const players = [];
let current = null;
document.querySelectorAll("article[data-stem]").forEach((article) => players.push(Player(article)));
current = players[0] || null;

function go(step) {
  const next = players[players.indexOf(current) + step];
  if (!next) return;
  players.forEach((p) => p.pause());
  current = next;
  next.article.focus({ preventScroll: true });
  next.article.scrollIntoView({ block: "start" });
}

document.addEventListener("keydown", (event) => {
  if (!current || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("select, input[type=text]")) return;
  if (blind.hears(event.key)) { event.preventDefault(); return; }
  const onButton = event.target.closest("button, summary"), turn = TURNS[event.key];
  if (turn && onButton?.role === "radio") { current.turn(turn); event.preventDefault(); return; }
  if (event.key === " " && !onButton) current.toggle();
  else if (event.key >= "1" && event.key <= "9") current.choose(Number(event.key) - 1);
  else if (event.key === "ArrowLeft" && event.target.type !== "range") current.move(-STEP_S);
  else if (event.key === "ArrowRight" && event.target.type !== "range") current.move(STEP_S);
  else if (event.key === "n") go(1);
  else if (event.key === "p") go(-1);
  else return;
  event.preventDefault();
});

// The blind comparison: two systems for every item on the page, in a random order; names are shown only at the end.
function Blind(panel) {
  if (!panel) return { hears: () => false };
  panel.hidden = false;
  const find = (id) => panel.querySelector(`#${id}`);
  const [one, other, trial, where, tally, save] = ["one", "other", "trial", "where", "tally", "save"].map(find);
  const names = [...one.options].map((option) => option.text);
  one.value = "degraded"; other.value = names.includes(RESTORED) ? RESTORED : names[names.length - 2];
  const place = `timbre-restore-blind ${location.pathname}`;
  let order = [], at = -1, sides = [], answers = [], pair = [];
  try {
    const kept = JSON.parse(localStorage.getItem(place));
    if (kept && kept.answers.length) {
      pair = kept.systems; answers = kept.answers; save.disabled = false;
      tally.textContent = `Answers from an earlier comparison: ${answers.length}. Save them, or begin a new one.`;
    }
  } catch { /* storage may be unavailable, or hold another page's data */ }

  function shuffled(values) {
    const out = [...values];
    for (let n = out.length - 1; n > 0; n -= 1) {
      const m = crypto.getRandomValues(new Uint32Array(1))[0] % (n + 1);
      [out[n], out[m]] = [out[m], out[n]];
    }
    return out;
  }
  function number(player, name) { return player.sounds.findIndex((s) => s.dataset.system === name); }
  function hear(side) {
    const player = order[at];
    player.choose(number(player, sides[side]));
    if (player.sounds[0].paused) player.play();
    panel.querySelectorAll("[data-hear]").forEach((b) => b.classList.toggle("chosen", Number(b.dataset.hear) === side));
  }
  function next() {
    if (at >= 0) order[at].pause();
    at += 1;
    if (at >= order.length) { end(); return; }
    sides = shuffled(pair);
    current = order[at];
    where.textContent = `Item ${at + 1} of ${order.length}`;
    order[at].seek(0);
    order[at].choose(number(order[at], sides[0])); // the system chosen before may be neither of the two
    panel.querySelectorAll("[data-hear]").forEach((b) => b.classList.toggle("chosen", b.dataset.hear === "0"));
  }
  function start() {
    const usable = players.filter((p) => number(p, one.value) >= 0 && number(p, other.value) >= 0);
    if (one.value === other.value || !usable.length) { tally.textContent = "Choose two different systems."; return; }
    players.forEach((p) => p.pause());
    pair = [one.value, other.value]; one.disabled = true; other.disabled = true;
    order = shuffled(usable); at = -1; answers = []; tally.textContent = ""; save.disabled = true;
    document.body.classList.add("hiding"); trial.hidden = false;
    next();
  }
  function say(what) {
    const stem = order[at].article.dataset.stem;
    answers.push({ item: stem, first: sides[0], second: sides[1], preferred: what === "none" ? null : sides[Number(what)] });
    save.disabled = false;
    try { localStorage.setItem(place, JSON.stringify({ systems: pair, answers })); } catch { /* storage may be unavailable */ }
    next();
  }
  function chance(wins, count) { // two-sided sign test: binomial with one half
    let sum = 0;
    for (let k = 0; k <= count; k += 1) {
      let c = 1;
      for (let j = 1; j <= k; j += 1) c *= (count - k + j) / j;
      if (Math.abs(k - count / 2) >= Math.abs(wins - count / 2) - 1e-9) sum += c * 0.5 ** count;
    }
    return Math.min(1, sum);
  }
  function end() {
    one.disabled = false; other.disabled = false;
    document.body.classList.remove("hiding"); trial.hidden = true; save.disabled = false; order = []; at = -1;
    const a = answers.filter((x) => x.preferred === pair[0]).length;
    const b = answers.filter((x) => x.preferred === pair[1]).length;
    const p = a + b ? `; a count at least this uneven has probability ${chance(a, a + b).toFixed(3)} by chance alone` : "";
    tally.textContent = `${pair[0]} preferred ${a} times, ${pair[1]} ${b} times, no difference ${answers.length - a - b} times${p}.`;
  }
  function keep() {
    const text = JSON.stringify({ systems: pair, answers }, null, 2);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "blind-comparison.json";
    link.click();
  }
  find("start").addEventListener("click", start);
  find("again").addEventListener("click", () => { order[at].seek(0); order[at].play(); });
  save.addEventListener("click", keep);
  panel.querySelectorAll("[data-hear]").forEach((b) => b.addEventListener("click", () => hear(Number(b.dataset.hear))));
  panel.querySelectorAll("[data-say]").forEach((b) => b.addEventListener("click", () => say(b.dataset.say)));
  return {
    hears(key) {
      if (at < 0) return false;
      if (key === "1" || key === "2") { hear(Number(key) - 1); return true; }
      if (key === " ") { order[at].toggle(); return true; }
      return key === "n" || key === "p" || /^[0-9]$/.test(key); // switching system or item would give names away
    },
  };
}
const blind = Blind(document.getElementById("blind"));
