// What the page does better with a script: live values of sliders, dropping images, results without a new page.
// Everything but the live values works without it.
"use strict";

document.documentElement.classList.add("scripted");

const two = (n) => String(n).padStart(2, "0");

function moment(seconds, isDate) {
  if (!isDate) return seconds.toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 }) + " s";
  const d = new Date(seconds * 1000);
  const day = `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
  return `${day} ${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
}

function showValue(slider) {
  const output = document.querySelector(`output[for="${slider.id}"]`);
  if (!output) return;
  const span = slider.closest("[data-span]");
  if (!span) {
    output.textContent = String(Number(slider.value));
    return;
  }
  const [low, high] = span.dataset.span.split(" ").map(Number);
  const seconds = low + ((high - low) * Number(slider.value)) / Number(slider.max);
  output.textContent = moment(seconds, span.dataset.epoch === "yes");
  slider.setAttribute("aria-valuetext", output.textContent);
}

let asked = 0;

// Fetches a page of results and puts its results in the place of those shown.
async function showResults(url, request, focus) {
  const results = document.getElementById("results");
  const turn = ++asked;
  results.classList.add("loading");
  try {
    const response = await fetch(url, request);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById("results");
    if (turn !== asked) return;
    if (!fresh) {
      const said = page.querySelector("[role=alert]") || page.querySelector("p");
      document.getElementById("status").textContent = said ? said.textContent : "That did not work.";
      return;
    }
    results.replaceWith(fresh);
    const address = new URL(response.url);
    history.replaceState(null, "", address.pathname + address.search);
    if (focus) document.getElementById("status").focus();
  } catch {
    document.getElementById("status").textContent = "The server did not answer.";
  } finally {
    if (turn === asked) document.getElementById("results").classList.remove("loading");
  }
}

function addressOf(form) {
  const values = new URLSearchParams(new FormData(form));
  for (const slider of form.querySelectorAll("input[type=range]")) {
    const usual = slider.name === "last" ? slider.max : slider.name === "first" ? "0" : "1";
    if (slider.value === usual) values.delete(slider.name);
  }
  return `${form.getAttribute("action")}?${values}`;
}

let answering = false;

// Sends an answer about a pair and shows the next pair in its place, with the focus on the same button.
async function answer(form, button) {
  if (answering) return;
  answering = true;
  const said = button ? button.value : "";
  try {
    const response = await fetch(form.getAttribute("action"), { method: "POST", body: new URLSearchParams(new FormData(form, button)) });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector("main");
    if (!page.getElementById("asking")) {
      const message = page.querySelector("[role=alert]") || page.querySelector("p");
      document.getElementById("asking-state").textContent = message ? message.textContent : "That did not work.";
      return;
    }
    document.querySelector("main").replaceWith(fresh);
    // A status that comes with its text is not read out; one that changes is.
    const state = document.getElementById("asking-state");
    const words = state.textContent;
    state.textContent = "";
    setTimeout(() => { state.textContent = words; }, 100);
    const next = document.querySelector(`#asking button[value="${CSS.escape(said)}"]`);
    (next || document.getElementById("asking-name")).focus();
  } catch {
    document.getElementById("asking-state").textContent = "The server did not answer.";
  } finally {
    answering = false;
  }
}

// The keys 1, 2 and 3, only while the focus is on an answer, so that they disturb nothing else.
document.addEventListener("keydown", (event) => {
  const answers = event.target.closest(".answers");
  const place = ["1", "2", "3"].indexOf(event.key);
  if (!answers || place < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  answers.querySelectorAll("button")[place].click();
});

let waiting = 0;
document.addEventListener("input", (event) => {
  if (event.target.type === "range") showValue(event.target);
  const form = event.target.closest("form[data-live]");
  if (!form) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => showResults(addressOf(form), {}, false), 350);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("[data-live]")) {
    event.preventDefault();
    clearTimeout(waiting);
    showResults(addressOf(form), {}, true);
  } else if (form.matches("[data-judge]")) {
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    showResults(form.getAttribute("action"), { method: "POST", body }, true);
  } else if (form.matches("[data-answer]")) {
    event.preventDefault();
    answer(form, event.submitter);
  } else if (form.matches("[data-drop]")) {
    document.body.classList.add("busy");
  }
});

function send(files) {
  const form = document.querySelector("form[data-drop]");
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!form || !images.length) return;
  const transfer = new DataTransfer();
  for (const file of images) transfer.items.add(file);
  form.elements.picture.files = transfer.files;
  form.requestSubmit();
}

document.addEventListener("dragover", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  document.querySelector("form[data-drop]")?.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.querySelector("form[data-drop]")?.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  document.querySelector("form[data-drop]")?.classList.remove("over");
  send(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) send(event.clipboardData.files);
});
window.addEventListener("pageshow", () => document.body.classList.remove("busy"));
