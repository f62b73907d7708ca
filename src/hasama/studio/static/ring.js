// The game in the plane: the server plays, this page draws.
const canvas = document.querySelector("#plane");
const pen = canvas.getContext("2d");
const form = document.querySelector("#settings");
const playing = document.querySelector("#play");
const slow = document.querySelector("#slow");
const one = (name) => document.querySelector(name);
let id = "";
let games = 0; // that were begun anew: what is answered of an older one does not count
let points = [];
let on = false;
let busy = false;
let waiting = null;
let view = 1.6;

const settings = () => {
  const found = Object.fromEntries(new FormData(form));
  for (const name of ["latent_size", "seed", "gamma", "discriminator_lr", "generator_lr", "critic_steps"]) found[name] = Number(found[name]);
  found.points = found.data === "drawn" ? points : [];
  return found;
};
const place = ([x, y]) => [((x + view) / (2 * view)) * canvas.width, ((view - y) / (2 * view)) * canvas.height];
const dot = (point, radius, shade) => {
  pen.fillStyle = shade;
  pen.beginPath();
  pen.arc(...place(point), radius, 0, 2 * Math.PI);
  pen.fill();
};
const draw = (now) => {
  view = now.view;
  const heat = new ImageData(now.side, now.side);
  now.heat.forEach((held, n) => {
    const row = now.side - 1 - Math.floor(n / now.side); // y grows upwards
    const shade = held > 0.5 ? [63, 127, 191] : [217, 114, 46];
    heat.data.set([...shade, Math.round(Math.abs(held - 0.5) * 2 * 120)], 4 * (row * now.side + (n % now.side)));
  });
  const small = new OffscreenCanvas(now.side, now.side);
  small.getContext("2d").putImageData(heat, 0, 0);
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingEnabled = true;
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  pen.strokeStyle = "#7a5c9b88";
  pen.lineWidth = 1;
  const grid = now.grid;
  const line = (places) => {
    pen.beginPath();
    places.forEach((point, n) => (n ? pen.lineTo(...place(point)) : pen.moveTo(...place(point))));
    pen.stroke();
  };
  for (let k = 0; k < now.grid_side && grid.length; k += 1) {
    line(grid.slice(k * now.grid_side, (k + 1) * now.grid_side));
    line(grid.filter((_, n) => n % now.grid_side === k));
  }
  for (const point of now.real) dot(point, 3, "#1f5f9ecc");
  for (const point of now.fake) dot(point, 3, "#c2550fcc");
  pen.strokeStyle = "#3a3732";
  for (const [x, y, dx, dy] of now.arrows) line([[x, y], [x + dx, y + dy]]);
  one("#steps").textContent = now.steps;
  one("#modes").textContent = `${now.modes} / ${now.of} (${Math.round(100 * now.quality)} %)`;
  const short = (value) => (value === null ? "–" : Number(value.toPrecision(3)));
  one("#loss-d").textContent = short(now.losses.discriminator);
  one("#loss-g").textContent = short(now.losses.generator);
  one("#accuracy").textContent = now.losses.accuracy === null ? "–" : `${Math.round(100 * now.losses.accuracy)} %`;
  const verdict = one("#verdict");
  const told = JSON.parse(verdict.dataset.words)[now.verdict];
  if (verdict.textContent !== told) verdict.textContent = told;
};
const ask = async (who, steps) => {
  if (busy) {
    waiting = [who, steps]; // nothing that is asked for is lost
    return;
  }
  busy = true;
  const game = games;
  try {
    const answer = await fetch("/api/ring", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ id, settings: settings(), who, steps }),
    });
    const now = await answer.json();
    one("#wrong").hidden = answer.ok;
    if (game !== games) {
      one("#wrong").hidden = true;
    } else if (answer.ok) {
      id = now.id;
      draw(now);
    } else {
      one("#wrong").textContent = now.error;
      turn(false);
    }
  } catch (error) {
    turn(false);
  } finally {
    busy = false;
  }
  if (waiting) {
    const next = waiting;
    waiting = null;
    await ask(...next);
  }
};
const go = async () => {
  if (!on) return;
  await ask("both", slow.checked ? 1 : 10);
  setTimeout(go, slow.checked ? 600 : 30);
};
const turn = (wanted) => {
  on = wanted;
  playing.textContent = on ? playing.dataset.pause : playing.dataset.play;
  if (on) go();
};
playing.addEventListener("click", () => turn(!on));
for (const button of document.querySelectorAll("[data-who]")) {
  button.addEventListener("click", () => { turn(false); ask(button.dataset.who, 1); });
}
one("#again").addEventListener("click", () => { turn(false); games += 1; id = ""; ask("both", 0); });
form.addEventListener("change", () => {
  if (form.elements.data.value === "drawn" && !points.length) { turn(false); return; }
  ask("both", 0);
});
form.addEventListener("submit", (event) => event.preventDefault());
canvas.addEventListener("click", (event) => {
  const seen = canvas.getBoundingClientRect();
  if (form.elements.data.value !== "drawn") { form.elements.data.value = "drawn"; points = []; }
  if (points.length >= 400) return;
  const x = ((event.clientX - seen.left) / seen.width) * 2 * view - view;
  const y = view - ((event.clientY - seen.top) / seen.height) * 2 * view;
  points = [...points, [Number(x.toFixed(3)), Number(y.toFixed(3))]];
  turn(false);
  ask("both", 0);
});
ask("both", 0);
