// Links to the camera are shown where the browser has one to give.
const devices = await navigator.mediaDevices?.enumerateDevices().catch(() => []);
if (devices?.some((one) => one.kind === "videoinput")) {
  for (const link of document.querySelectorAll("[data-camera]")) link.hidden = false;
}
