// A painting while it is painted: the picture so far, and before and after.
import { showStatus } from "./watching.js";

const page = document.querySelector("#painting");
const over = page.querySelector(".over");
const at = document.querySelector("#at");
const job = encodeURIComponent(page.dataset.job);
const cut = () => over.style.setProperty("--at", `${at.value}%`);
at.addEventListener("input", cut);
cut();
let changed = 0;
const asked = async () => {
  try {
    const answer = await fetch(`/api/painting?job=${job}`);
    return answer.ok ? await answer.json() : null;
  } catch (error) {
    return null; // the studio is being restarted, or this machine slept
  }
};
const turn = async () => {
  const now = await asked();
  if (!now) {
    setTimeout(turn, 5000);
    return;
  }
  showStatus(page.querySelector(".status"), now.state);
  const said = page.querySelector(".said");
  said.hidden = !now.said;
  said.textContent = now.said;
  if (now.picture && now.changed !== changed) {
    changed = now.changed;
    over.hidden = false;
    over.src = `/painting.png?job=${job}&at=${changed}`;
  }
  if (!["waiting", "running"].includes(now.state)) {
    if (page.dataset.state !== now.state) location.reload();
    return;
  }
  setTimeout(turn, 1500);
};
if (["waiting", "running"].includes(page.dataset.state)) turn();
