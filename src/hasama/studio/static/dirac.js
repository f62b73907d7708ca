// The phase portrait of the Dirac-GAN: the server computes, this page draws; a click or the arrow keys choose the start.
import { lastWish, showing } from "/static/wishes.js";

const canvas = document.querySelector("#portrait");
const pen = canvas.getContext("2d");
const form = document.querySelector("#settings");
const field = (name) => form.elements.namedItem(name);
let reach = 2;

const place = (theta, psi) => [((theta + reach) / (2 * reach)) * canvas.width, ((reach - psi) / (2 * reach)) * canvas.height];
const line = (places, shade, width) => {
  pen.strokeStyle = shade;
  pen.lineWidth = width;
  pen.beginPath();
  places.forEach(([x, y], n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
};
const dot = ([x, y], radius, shade) => {
  pen.fillStyle = shade;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
};
const draw = (told) => {
  reach = told.reach;
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  line([place(-reach, 0), place(reach, 0)], "#b8b2a6", 1);
  line([place(0, -reach), place(0, reach)], "#b8b2a6", 1);
  const long = canvas.width / 20;
  for (const [theta, psi, right, up] of told.arrows) {
    const [x, y] = place(theta, psi);
    const size = Math.hypot(right, up);
    if (size < 1e-3) continue;
    const shown = long * Math.sqrt(size) / size; // short ones are still seen
    const end = [x + right * shown, y - up * shown];
    line([[x, y], end], "#5b7fa6", 1.5);
    const angle = Math.atan2(-up, right);
    for (const turn of [2.6, -2.6]) line([end, [end[0] + 6 * Math.cos(angle + turn), end[1] + 6 * Math.sin(angle + turn)]], "#5b7fa6", 1.5);
  }
  const path = told.path.map(([theta, psi]) => place(theta, psi));
  line(path, "#9a3412", 2);
  path.forEach((one) => dot(one, 2, "#9a3412"));
  dot(path[0], 6, "#c2550f");
  dot(place(0, 0), 6, "#1f6f43");
  const began = Math.hypot(...told.path[0]);
  const ends = document.querySelector("#ends");
  const far = told.ends === null ? Infinity : told.ends;
  ends.textContent = far > 1.15 * began ? ends.dataset.out : far < 0.7 * began ? ends.dataset.in : ends.dataset.round;
};
const show = lastWish(async () => {
  const answer = await fetch(`/api/dirac?${new URLSearchParams(new FormData(form))}`);
  const told = await answer.json();
  document.querySelector("#wrong").hidden = answer.ok;
  if (answer.ok) draw(told);
  else document.querySelector("#wrong").textContent = told.error;
});
const begin = (theta, psi) => {
  const held = (x) => Math.min(reach, Math.max(-reach, x)).toFixed(2);
  field("theta").value = held(theta);
  field("psi").value = held(psi);
  show();
};
canvas.addEventListener("click", (event) => {
  const seen = canvas.getBoundingClientRect();
  begin(((event.clientX - seen.left) / seen.width) * 2 * reach - reach, reach - ((event.clientY - seen.top) / seen.height) * 2 * reach);
});
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
  if (!step) return;
  event.preventDefault();
  begin(Number(field("theta").value) + step[0], Number(field("psi").value) + step[1]);
});
showing(form, show);
