// Sliders over a generator: at most one picture is asked for at a time, and the last wish wins.
import { lastWish } from "/static/wishes.js";

const form = document.querySelector("#wish");
const picture = document.querySelector("#picture");
const pad = document.querySelector("#pad");
const told = document.querySelector("#told");
const dot = pad.querySelector("span");
const field = (name) => form.elements.namedItem(name);

const query = () => {
  const along = [...form.querySelectorAll(".along")].map((one) => one.value).join(",");
  if (field("along")) field("along").value = along;
  return new URLSearchParams(new FormData(form)).toString();
};
const sentence = async (answer) => {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.querySelector("[role=alert]")?.textContent ?? answer.statusText;
};
let last = "";
const show = lastWish(async () => {
  const asked = query();
  last = asked;
  const began = performance.now();
  try {
    const answer = await fetch(`/generated.png?${asked}`);
    if (!answer.ok) throw new Error(await sentence(answer));
    const address = URL.createObjectURL(await answer.blob());
    const before = picture.src;
    picture.src = address;
    await picture.decode();
    if (before.startsWith("blob:")) URL.revokeObjectURL(before);
    picture.dataset.milliseconds = String(Math.round(performance.now() - began));
    told.textContent = "";
  } catch (error) {
    told.textContent = String(error.message);
  }
  document.querySelector("#keep").href = `/generated.png?keep=1&${asked}`;
  document.querySelector("#large").href = `/generated.png?large=1&${asked}`;
  const walk = document.querySelector("#walk");
  if (walk) walk.href = `/walk.mp4?${asked}`;
});
const place = (across, down) => {
  const held = [across, down].map((x) => Math.min(1, Math.max(0, x)));
  field("across").value = held[0].toFixed(3);
  field("down").value = held[1].toFixed(3);
  dot.style.left = `${held[0] * 100}%`;
  dot.style.top = `${held[1] * 100}%`;
  show();
};
const point = (event) => {
  const box = pad.getBoundingClientRect();
  place((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
};
pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId); point(event); });
pad.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
pad.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, -0.05], ArrowDown: [0, 0.05] }[event.key];
  if (!step) return;
  event.preventDefault();
  place(Number(field("across").value) + step[0], Number(field("down").value) + step[1]);
});
form.addEventListener("input", show);
form.addEventListener("submit", (event) => { event.preventDefault(); show(); });
const anySeed = () => String(Math.floor(Math.random() * 2147483640));
document.querySelector("#other").addEventListener("click", () => {
  field("seed").value = anySeed();
  if (!field("projected")) return place(0, 0);
  // From a projection the seed says where to: at the beginning of the pad nothing of it is seen.
  const [across, down] = ["across", "down"].map((name) => Number(field(name).value));
  return across || down ? place(across, down) : place(0.4, 0);
});
document.querySelector("#likely")?.addEventListener("click", async (event) => {
  const asked = new URLSearchParams(query());
  asked.set("seed", anySeed());
  event.target.disabled = true;
  try {
    const answer = await fetch(`/api/likeliest?${asked}`);
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    field("seed").value = String(found.seed);
    place(0, 0);
  } catch (error) {
    told.textContent = String(error.message);
  } finally {
    event.target.disabled = false;
  }
});
document.querySelector("#level")?.addEventListener("click", () => {
  for (const one of form.querySelectorAll(".along")) one.value = "0";
  show();
});
dot.style.left = "0%";
dot.style.top = "0%";
// What was moved before this was here, or was kept by the browser over a reload.
const isMoved = (one) => {
  if (one.tagName === "SELECT") return one.value !== ([...one.options].find((of) => of.defaultSelected) ?? one.options[0])?.value;
  return one.defaultValue !== undefined && one.value !== one.defaultValue;
};
const catchUp = () => { if ([...form.elements].some(isMoved) && query() !== last) show(); };
catchUp();
window.addEventListener("pageshow", catchUp);
