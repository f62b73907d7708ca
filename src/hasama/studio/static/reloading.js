// A page over something that ends soon: it comes anew every two seconds. While a button of it has the focus it does so
// only when something has happened, or whoever goes by keyboard would never reach one.
const told = (page) => page.title + (page.querySelector(".tag")?.textContent ?? "");
setInterval(async () => {
  const at = document.activeElement;
  if (document.hidden) return;
  if (!at || at === document.body) { location.reload(); return; }
  try {
    const answer = await fetch(location.href);
    const now = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (answer.redirected || told(now) !== told(document)) location.assign(answer.url);
  } catch (error) {
    console.warn(error);
  }
}, 2000);
