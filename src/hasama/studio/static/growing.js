// A portrait as a growing discriminator is shown it.
const form = document.querySelector("#settings");
const picture = document.querySelector("#picture");
const told = document.querySelector("#told");
const field = (name) => form.elements.namedItem(name);
let busy = false;
let wanted = false;

const show = async () => {
  const at = Number(field("at").value);
  const level = Math.ceil(at);
  const side = 4 * 2 ** level;
  const share = Math.round(100 * (at % 1));
  const text = share ? told.dataset.fading : told.dataset.settled;
  told.textContent = text.replace("SIDE", side).replace("SIDE", side).replace("BEFORE", side / 2).replace("SHARE", share);
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted) {
    wanted = false;
    picture.src = `${form.dataset.address}?${new URLSearchParams(new FormData(form))}`;
    try {
      await picture.decode();
    } catch (error) {
      break; // the next wish tries again
    }
  }
  busy = false;
};
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
document.querySelector("#other").addEventListener("click", () => {
  field("seed").value = String(Math.floor(Math.random() * 100000));
  show();
});
show();
