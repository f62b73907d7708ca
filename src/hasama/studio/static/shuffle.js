// A portrait whose patches change places, and how far it is from itself.
import { lastWish, showing } from "/static/wishes.js";

const form = document.querySelector("#settings");
const picture = document.querySelector("#picture");
const field = (name) => form.elements.namedItem(name);
const sides = form.dataset.sides.split(",");

const look = lastWish(async () => {
  const query = new URLSearchParams({ side: field("side").value, seed: field("seed").value });
  picture.src = `/learn/shuffled.png?${query}`;
  try {
    const found = await (await fetch(`/api/distances?${query}`)).json();
    for (const name of ["gram", "places"]) {
      const shown = document.querySelector(`#${name}`);
      if (shown) shown.textContent = `${found[name]} %`;
    }
  } catch (error) {
    console.warn(error); // the next wish tries again
  }
});
const show = () => {
  field("side").value = sides[Number(field("step").value)];
  field("side_is").value = field("side").value;
  look();
};
showing(form, show);
