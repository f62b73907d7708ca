// A portrait as a growing discriminator is shown it.
import { lastWish, showing } from "/static/wishes.js";

const form = document.querySelector("#settings");
const picture = document.querySelector("#picture");
const told = document.querySelector("#told");
const field = (name) => form.elements.namedItem(name);

const pictureOf = lastWish(async () => {
  picture.src = `${form.dataset.address}?${new URLSearchParams(new FormData(form))}`;
  await picture.decode().catch(() => {}); // the next wish tries again
});
const show = () => {
  const at = Number(field("at").value);
  const level = Math.ceil(at);
  const side = 4 * 2 ** level;
  const share = Math.round(100 * (at % 1));
  const text = share ? told.dataset.fading : told.dataset.settled;
  told.textContent = text.replaceAll("SIDE", side).replace("BEFORE", side / 2).replace("SHARE", share);
  pictureOf();
};
showing(form, show);
