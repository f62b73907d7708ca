// A network while it is taught: the preview as it changes, the losses, how far it is.
import { again, ask, clock, layoutOf, lineOf, options, short, showStatus } from "./watching.js";

const EVERY = 1500;
const SHADES = { style: "#d9722e", content: "#2f7fbf", identity: "#3f8f5f", tv: "#a04fb0" };
const page = document.querySelector("#taught");
const one = (selector) => page.querySelector(selector);
const name = encodeURIComponent(page.dataset.name);
let drawn = 0;
let seen = "";

const draw = (curves) => {
  const mark = `${curves.images_seen.length} ${curves.images_seen.at(-1)}`;
  if (!window.Plotly || !curves.images_seen.length || mark === seen) return;
  seen = mark;
  const lines = Object.entries(SHADES).filter(([kind]) => curves[kind]);
  const layout = layoutOf(page.dataset.crops, page.dataset.loss);
  const traces = lines.map(([kind, shade]) => lineOf(curves.images_seen, curves[kind], page.dataset[kind], shade));
  window.Plotly.react(document.querySelector(".losses"), traces, { ...layout, yaxis: { ...layout.yaxis, type: "log" } }, options);
};

again(async () => {
  const now = await ask(`/api/taught?name=${name}`);
  showStatus(one(".status"), now.status);
  one(".seen").textContent = now.images_seen;
  one(".total").textContent = now.total;
  one(".speed").textContent = short(now.images_per_second ?? 0);
  one(".left").textContent = clock(now.seconds_left);
  one("progress").value = now.done;
  one(".said").hidden = !now.said;
  if (one(".said").textContent !== now.said) one(".said").textContent = now.said;
  one("form.stop").hidden = !["waiting", "running"].includes(now.status);
  one("form.resume").hidden = ["waiting", "running", "stopping"].includes(now.status);
  one("input[name=kimg]").required = now.status === "finished";
  one("input[name=kimg]").min = now.total / 1000; // it does not become shorter
  one(".use").hidden = !now.network;
  if (now.preview !== "0" && now.preview !== drawn) {
    drawn = now.preview;
    one(".none").hidden = true;
    one(".preview").hidden = false;
    one(".preview").src = `/taught/preview.png?name=${name}&at=${drawn}`;
  }
  draw(now.curves);
}, EVERY);
