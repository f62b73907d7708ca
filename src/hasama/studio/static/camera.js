// The camera's pictures go to the studio one at a time: the next one is sent when the last one has come back painted.
const page = document.querySelector("#camera");
const part = (name) => document.querySelector(`#${name}`);
const QUALITY = 0.9;
const KEPT_MOST = 24;

const begin = () => {
  const [painted, seen, start, stop, keep] = ["painted", "seen", "start", "stop", "keep"].map(part);
  const pen = painted.getContext("2d");
  const sent = document.createElement("canvas");
  const name = crypto.getRandomValues(new Uint32Array(2)).join("-");
  let stream = null;
  let times = [];

  const tell = (wrong) => {
    part("wrong").hidden = !wrong;
    part("wrong").textContent = wrong;
  };
  const capture = () => {
    const width = Math.min(Number(part("width").value), seen.videoWidth);
    sent.width = width;
    sent.height = Math.round((seen.videoHeight * width) / seen.videoWidth);
    sent.getContext("2d").drawImage(seen, 0, 0, sent.width, sent.height);
    return new Promise((done) => sent.toBlob(done, "image/jpeg", QUALITY));
  };
  const paint = async () => {
    const asked = new URLSearchParams({ network: part("network").value, strength: part("strength").value, width: part("width").value, camera: name });
    const answer = await fetch(`/api/camera?${asked}`, { method: "POST", body: await capture() });
    if (!answer.ok) {
      const told = await answer.text();
      throw new Error(answer.headers.get("content-type")?.includes("json") ? JSON.parse(told).error : told);
    }
    const picture = await createImageBitmap(await answer.blob());
    painted.width = picture.width;
    painted.height = picture.height;
    pen.drawImage(picture, 0, 0);
    times = [...times, performance.now()].slice(-12);
    if (stream && times.length > 1) part("speed").textContent = ((1000 * (times.length - 1)) / (times.at(-1) - times[0])).toFixed(1);
    painted.dataset.count = Number(painted.dataset.count ?? 0) + 1;
    keep.disabled = false;
  };
  const pause = () => new Promise((done) => setTimeout(done, 300)); // nobody looks
  const end = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    seen.hidden = true;
    start.disabled = false;
    stop.disabled = true;
    part("speed").textContent = "–";
  };

  start.addEventListener("click", async () => {
    start.disabled = true;
    tell("");
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
    } catch {
      tell(page.dataset.refused);
      return end();
    }
    const own = stream;
    seen.srcObject = own;
    seen.hidden = false;
    stop.disabled = false;
    times = [];
    try {
      await seen.play();
      while (stream === own) await (document.hidden ? pause() : paint());
    } catch (error) {
      if (stream === own) {
        tell(error.message);
        end();
      }
    }
  });
  stop.addEventListener("click", end);
  keep.addEventListener("click", () => {
    const link = Object.assign(document.createElement("a"), { href: painted.toDataURL("image/png"), download: `${page.dataset.kept}.png` });
    link.append(Object.assign(new Image(), { src: link.href, alt: page.dataset.kept }));
    part("kept").prepend(link);
    while (part("kept").children.length > KEPT_MOST) part("kept").lastElementChild.remove();
  });
  addEventListener("pagehide", end);
  if (!navigator.mediaDevices) {
    start.disabled = true;
    tell(page.dataset.none);
  }
};
if (page) begin();
