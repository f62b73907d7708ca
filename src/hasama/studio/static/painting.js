// A painting while it is painted: the picture so far, and before and after.
import { again, ask, showStatus } from "./watching.js";

const page = document.querySelector("#painting");
const over = page.querySelector(".over");
const at = document.querySelector("#at");
const job = encodeURIComponent(page.dataset.job);
const cut = () => over.style.setProperty("--at", `${at.value}%`);
at.addEventListener("input", cut);
cut();
let changed = 0;
const turn = async () => {
  const now = await ask(`/api/painting?job=${job}`);
  showStatus(page.querySelector(".status"), now.state);
  const said = page.querySelector(".said");
  said.hidden = !now.said;
  said.textContent = now.said;
  if (now.picture && now.changed !== changed) {
    changed = now.changed;
    over.hidden = false;
    over.src = `/painting.png?job=${job}&at=${changed}`;
  }
  if (!["waiting", "running"].includes(now.state)) location.reload();
};
if (["waiting", "running"].includes(page.dataset.state)) again(turn, 1500);
