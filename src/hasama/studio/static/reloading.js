// A page over something that ends soon: it comes anew every two seconds. While a button of it has the focus it does so
// only when something has happened, or whoever goes by keyboard would never reach one.
const told = (page) => page.title + (page.querySelector(".tag")?.textContent ?? "");
const anew = async () => {
  const at = document.activeElement;
  if (document.hidden) return false;
  if (!at || at === document.body) { location.reload(); return true; }
  const answer = await fetch(location.href);
  const now = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!answer.redirected && told(now) === told(document)) return false;
  location.assign(answer.url);
  return true;
};
const turn = async () => {
  let comes = false;
  try { comes = await anew(); } catch (error) { console.warn(error); }
  if (!comes) setTimeout(turn, 2000);
};
setTimeout(turn, 2000);
