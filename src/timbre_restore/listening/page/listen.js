// One page at a time: what is to be heard and rated, the keys, and the server that keeps the answers.
const $ = (id) => document.getElementById(id);
const HEARD_S = 1.0, TICK_MS = 40;
const BANDS = ["bad", "poor", "fair", "good", "excellent"];
let test = null, page = null, player = null, started = 0;

async function send(path, content) {
  let reply;
  try {
    const headers = { "Content-Type": "application/json" };
    reply = await fetch(path, { method: "POST", headers, body: JSON.stringify(content) });
  } catch {
    throw new Error("The server does not respond. What was saved is safe: start the server again, open its new " +
      `address, and continue ${test ? `with the code ${test.code}` : "there"}.`);
  }
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

function alarm(text) { $("alarm").textContent = text; $("alarm").hidden = !text; }

function show(section) {
  for (const id of ["welcome", "trial", "done"]) $(id).hidden = id !== section;
  const heading = document.querySelector(`#${section} h1`);
  if (heading.tabIndex === -1) heading.focus();
}

// ---- a page ----
const pairs = () => test.kind === "ccr";
const place = () => `${test.code}:${page.index}`;

async function openPage() {
  const index = test.pages.findIndex((_, number) => !test.answered.includes(number));
  if (index < 0) { player?.stop(); page = null; show("done"); return; }
  const plan = test.pages[index];
  page = { ...plan, index, ratings: {}, heard: {} };
  show("trial");
  const lessons = test.pages.filter((one) => one.training).length;
  $("heading").textContent = plan.training ? `Practice ${index + 1} of ${lessons}`
    : `Page ${index + 1 - lessons} of ${test.pages.length - lessons}`;
  $("lesson").hidden = !plan.training;
  $("mine").textContent = test.code;
  $("progress").max = test.pages.length;
  $("progress").value = test.answered.length;
  $("missing").textContent = "Loading the sounds …";
  $("next").disabled = $("play").disabled = true;
  $("next").textContent = index === test.pages.length - 1 ? "Finish" : "Next";
  buildSounds();
  const opening = page;
  await player.load([...(plan.reference ? [plan.reference] : []), ...plan.stimuli]);
  if (page !== opening) return;
  $("play").disabled = false;
  started = performance.now();
  choose(player.names[0]);
  restoreDraft();
  refresh();
}

function buildSounds() {
  $("sounds").replaceChildren(...page.stimuli.map((name, number) => {
    const box = document.createElement("div");
    box.className = "version fresh";
    box.id = `box-${name}`;
    const word = pairs() ? ["First", "Second"][number] : "";
    const shown = pairs() ? `${word}<kbd>${number + 1}</kbd>` : number + 1;
    const track = `<div class="track"><input type="range" min="0" max="100" step="1" value="50"
      aria-label="Version ${number + 1}" aria-valuetext="not rated yet"></div><div class="value">–</div>`;
    box.innerHTML = `<button class="sound" aria-pressed="false">${shown}</button>${pairs() ? "" : track}
      <div class="state"></div>`;
    const button = box.querySelector("button");
    button.setAttribute("aria-label", word ? `Play the ${word.toLowerCase()}` : `Play version ${number + 1}`);
    button.onclick = () => press(name);
    const slider = box.querySelector("input");
    if (slider) {
      slider.onfocus = () => choose(name);
      slider.oninput = slider.onpointerup = () => rate(name, slider.valueAsNumber);
    }
    return box;
  }));
  for (const radio of document.querySelectorAll("[name=category]")) {
    radio.checked = false;
    radio.onchange = radio.onclick = () => rate(page.rated[0], Number(radio.value));
  }
  if ($("reference")) $("reference").onclick = () => press(page.reference);
}

const buttonOf = (name) => name === page.reference ? $("reference") : document.querySelector(`#box-${name} button`);

// Versions of one recording are switched in mid-sound; the two of a pair are heard one after the other, from the start.
async function press(name) {
  if (!player.buffers?.has(name)) return;
  choose(name);
  if (pairs()) { player.pause(); player.at = 0; }
  if (!player.playing) await player.play(!pairs());
  refresh();
}

function choose(name) {
  player.choose(name);
  for (const other of player.names) buttonOf(other).setAttribute("aria-pressed", String(other === name));
}

function rate(name, value) {
  showRating(name, value);
  keepHeard();
  keepDraft();
  refresh();
}

function showRating(name, value) {
  page.ratings[name] = value;
  const slider = document.querySelector(`#box-${name} input`);
  if (slider) {
    slider.value = value;
    slider.setAttribute("aria-valuetext", `${value}, ${BANDS[Math.min(4, Math.floor(value / 20))]}`);
    $(`box-${name}`).classList.remove("fresh");
    document.querySelector(`#box-${name} .value`).textContent = value;
  } else {
    document.querySelector(`[name=category][value="${value}"]`).checked = true;
  }
}

// Each rating is saved on the server at once; while one is being sent, later ones wait, and only the last is sent.
async function keepDraft() {
  const rated = page;
  rated.changed = true;
  if (rated.keeping) return;
  rated.keeping = true;
  try {
    while (rated.changed && page === rated) {
      rated.changed = false;
      await send("api/draft", { code: test.code, page: rated.index, draft: rated.ratings });
      alarm("");
    }
  } catch (problem) {
    alarm(problem.message);
  }
  rated.keeping = false;
}

// What was heard is not part of the answer: it is kept only so that a reload in this tab need not ask for it again.
function keepHeard() {
  try { sessionStorage.setItem(place(), JSON.stringify(page.heard)); } catch { /* then it is not kept */ }
}

function restoreDraft() {
  try { page.heard = JSON.parse(sessionStorage.getItem(place()) ?? "{}"); } catch { /* then it is heard again */ }
  for (const [name, value] of Object.entries(test.drafts[page.index] ?? {})) showRating(name, value);
}

// A pair must be heard in full; for versions side by side, a second of each is enough.
const isHeard = (name) => (page.heard[name] ?? 0) >= Math.min(0.95 * player.duration, pairs() ? Infinity : HEARD_S);

function label(name) {
  const number = page.stimuli.indexOf(name);
  return number < 0 ? "the reference" : pairs() ? ["the first", "the second"][number] : String(number + 1);
}

function refresh() {
  if (!page || !player.buffers) return;
  const unheard = player.names.filter((name) => !isHeard(name));
  const unrated = page.rated.filter((name) => !(name in page.ratings));
  for (const name of page.stimuli) {
    const words = !isHeard(name) ? "" : pairs() || unrated.includes(name) ? "heard" : "heard, rated";
    const state = document.querySelector(`#box-${name} .state`);
    if (state.textContent !== words) state.textContent = words;
  }
  const missing = [unheard.length ? `Still to hear: ${unheard.map(label).join(", ")}.` : "",
    !unrated.length ? "" : pairs() ? "Still to rate." : `Still to rate: ${unrated.map(label).join(", ")}.`]
    .join(" ").trim();
  // Written only when it changes, since a screen reader announces every write.
  if ($("missing").textContent !== missing) $("missing").textContent = missing;
  $("next").disabled = Boolean(missing);
  $("play").textContent = player.playing ? "Pause" : "Play";
}

async function next() {
  if ($("next").disabled) return;
  $("next").disabled = true;
  player.stop();
  try {
    const seconds = Math.min(86400, Math.round((performance.now() - started) / 100) / 10);
    await send("api/answer", { code: test.code, page: page.index, ratings: page.ratings, seconds });
    sessionStorage.removeItem(place());
    test.answered.push(page.index);
    alarm("");
    await openPage();
  } catch (problem) {
    alarm(problem.message);
    $("next").disabled = false;
  }
}

async function toggle() {
  if (!player?.buffers || $("play").disabled) return;
  if (player.playing) player.pause();
  else await player.play(!pairs());
  refresh();
}

let before = 0;
setInterval(() => {
  if (!page || !player?.buffers) return;
  const now = player.context.currentTime;
  if (player.playing) {
    const heard = page.heard[player.active] ?? 0;
    // Of a pair it counts how far from its beginning it was heard without a gap, not how long.
    const gapless = player.position <= heard + (now - before) + 0.3;
    page.heard[player.active] = !pairs() ? heard + Math.min(now - before, 0.5)
      : gapless ? Math.max(heard, player.position) : heard;
    if (pairs() && player.position >= player.duration) ended();
  }
  before = now;
  const share = (place) => `${100 * place / player.duration}%`;
  $("cursor").style.left = share(player.position);
  $("clock").textContent = `${player.position.toFixed(1)} / ${player.duration.toFixed(1)} s`;
  $("loop").hidden = player.loop[1] - player.loop[0] >= player.duration;
  $("loop").style.left = share(player.loop[0]);
  $("loop").style.width = share(player.loop[1] - player.loop[0]);
  refresh();
}, TICK_MS);

function ended() {
  const first = player.active === page.stimuli[0];
  player.stop();
  player.at = 0;
  if (first) press(page.stimuli[1]);
  else choose(page.stimuli[0]);
}

// ---- controls ----
async function begin(code) {
  try {
    test = await send("api/begin", code ? { code } : {});
    location.hash = test.code;  // a reload finds the listener again
    player ??= new Player(test.sample_rate_hz);
    alarm("");
    await openPage();
  } catch (problem) {
    alarm(problem.message);
  }
}

function loopFrom() {
  const place = player.position, to = player.loop[1];
  player.setLoop(place, place < to ? to : player.duration);
}
function loopTo() {
  const place = player.position, from = player.loop[0];
  player.setLoop(place > from ? from : 0, place);
}
function loopAll() { player.setLoop(0, player.duration); }

function nudge(step) {
  if (pairs()) {
    const value = page.ratings[page.rated[0]];
    rate(page.rated[0], Math.min(3, Math.max(-3, value === undefined ? 0 : value + Math.sign(step))));
  } else if (page.rated.includes(player.active)) {
    const slider = document.querySelector(`#box-${player.active} input`);
    rate(player.active, Math.min(100, Math.max(0, slider.valueAsNumber + step)));
  }
}

document.addEventListener("keydown", (event) => {
  if (!page || !player?.buffers || event.ctrlKey || event.altKey || event.metaKey) return;
  const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
  const onButton = event.target instanceof HTMLButtonElement;
  if (event.key in steps) nudge(steps[event.key] * (event.shiftKey && Math.abs(steps[event.key]) === 1 ? 10 : 1));
  else if (event.key === " ") { if (!event.repeat) toggle(); }
  else if (event.key === "Enter") { if (onButton) return; if (!event.repeat) next(); }
  else if (event.key === "0" && page.reference) press(page.reference);
  else if (/^[1-9]$/.test(event.key)) { const name = page.stimuli[Number(event.key) - 1]; if (name) press(name); }
  else if (event.key === "[" && !pairs()) loopFrom();
  else if (event.key === "]" && !pairs()) loopTo();
  else if (event.key.toLowerCase() === "l" && !pairs()) loopAll();
  else return;
  event.preventDefault();
});
// Space is play or pause everywhere, so it must not also press the focused button.
document.addEventListener("keyup", (event) => { if (page && event.key === " ") event.preventDefault(); });
// A button clicked with the mouse gives up the focus, so that Enter means "next" again.
document.addEventListener("click", (event) => {
  if (event.detail > 0 && event.target.closest("button")) document.activeElement?.blur();
});

let drawn = null;
const placeOf = (event) => {
  const box = $("line").getBoundingClientRect();
  return player.duration * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
};
$("line").onpointerdown = (event) => {
  if (!player?.buffers) return;
  drawn = placeOf(event);
  $("line").setPointerCapture(event.pointerId);
};
$("line").onpointerup = (event) => {
  if (drawn === null) return;
  const [from, to] = [drawn, placeOf(event)].sort((a, b) => a - b);
  drawn = null;
  if (!pairs() && to - from >= SHORTEST_LOOP_S) player.setLoop(from, to);
  else player.seek(to);
};

$("begin").onclick = () => begin(null);
$("goon").onsubmit = (event) => { event.preventDefault(); begin($("code").value.trim() || "-"); };
$("play").onclick = toggle;
$("next").onclick = next;
for (const [id, act] of [["from", loopFrom], ["to", loopTo], ["whole", loopAll]]) if ($(id)) $(id).onclick = act;
$("another").onclick = () => { history.replaceState(null, "", location.pathname); location.reload(); };
$("code").value = decodeURIComponent(location.hash.slice(1));
if ($("code").value) $("code").closest("form").querySelector("button").focus();
