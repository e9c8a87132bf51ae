// What the page shows. It decodes nothing itself: files go to the worker, pictures and errors come back.

const $ = (id) => document.getElementById(id);
const STAGES = {
  model: "Fetching the model, once",
  check: "Checking the model on this machine",
  latents: "Reading the symbols",
  picture: "Making the picture",
};

let worker = null;
let busy = false;
/** The picture to decode: its bytes are kept until it is shown, in case its model comes later. */
let current = { name: "", bytes: null, sent: false };

/** Start a worker; what an older one is doing no longer matters. */
function startWorker() {
  worker?.terminate();
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.progress) showProgress(...data.progress);
    else if (data.picture) showPicture(data.picture);
    else if (data.model) modelAdded(data.model);
    else showError(data.error);
  };
  worker.onerror = (event) => {
    showError({ kind: "Error", message: `the decoder could not be started: ${event.message ?? "load the page again"}` });
    worker = null;
  };
}

function setState(state) {
  document.body.dataset.state = state;
  busy = state === "busy";
  $("work").hidden = state !== "busy";
  $("result").hidden = state !== "done";
  $("error").hidden = state !== "failed";
  $("notice").hidden = state !== "model";
}

function showProgress(stage, part) {
  if (!busy) return;
  $("stage").textContent = STAGES[stage];
  $("part").textContent = part ? `${Math.round(100 * part)} %` : "";
  if (part) $("bar").value = part;
  else $("bar").removeAttribute("value");
}

function showError({ kind, message }) {
  $("error").textContent = message;
  $("error").dataset.kind = kind;
  current.sent = false;
  if (kind !== "WrongModelError") current.bytes = null;
  setState("failed");
}

/** A model came: decode the picture that failed for want of it. */
function modelAdded({ id, arch }) {
  if (current.sent) return undefined;
  if (current.bytes) return decode();
  $("notice").textContent = `Model ${id.slice(0, 16)} (${arch}) is ready; now drop a picture.`;
  return setState("model");
}

function showPicture(picture) {
  const { width, height, rgba } = picture;
  const canvas = $("canvas");
  try {
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", { colorSpace: "srgb" });
    context.putImageData(new ImageData(rgba, width, height), 0, 0);
    if (context.getImageData(width - 1, height - 1, 1, 1).data[3] !== 255) throw new Error("not drawn");
  } catch {
    showError({ kind: "LimitError", message: `this browser cannot show a picture of ${width}x${height} pixels` });
    return;
  }
  $("verdict").textContent = picture.proved ? "Exact: every pixel is the encoder's" : "Symbols verified; the file has no checksum of its pixels";
  $("verdict").classList.toggle("partial", !picture.proved);
  $("size").textContent = `${width} × ${height}`;
  $("bytes").textContent = `${picture.bytes.toLocaleString("en")} bytes, ${((8 * picture.bytes) / (width * height)).toFixed(3)} bpp`;
  $("model").replaceChildren(`${picture.arch} `, code(picture.modelId));
  const build = picture.build === "simd128" ? "WebAssembly SIMD" : "WebAssembly";
  $("time").textContent = `${picture.seconds.toFixed(picture.seconds < 10 ? 2 : 0)} s, ${build}`;
  $("frame").classList.remove("actual");
  canvas.setAttribute("aria-label", `${current.name}, ${width} by ${height} pixels`);
  current = { name: current.name, bytes: null, sent: false };
  setState("done");
}

function code(id) {
  const element = document.createElement("code");
  element.textContent = id.slice(0, 16);
  element.title = id;
  return element;
}

function decode() {
  setState("busy");
  showProgress("check", 0);
  current.sent = true;
  worker.postMessage({ bitstream: current.bytes });
}

/** A model is a ZIP file; everything else is tried as a picture. */
const isModel = (bytes) => bytes.byteLength > 1 && new Uint16Array(bytes.slice(0, 2))[0] === 0x4b50;

async function open(files) {
  if (!files.length) return;
  let opened;
  try {
    opened = await Promise.all([...files].map(async (file) => ({ name: file.name, bytes: await file.arrayBuffer() })));
  } catch {
    showError({ kind: "InputError", message: "the file cannot be read" });
    return;
  }
  if (busy || !worker) startWorker();
  const models = opened.filter(({ bytes }) => isModel(bytes));
  const picture = opened.filter(({ bytes }) => !isModel(bytes)).pop();
  if (picture) current = { ...picture, sent: false };
  setState("busy");
  showProgress("check", 0);
  for (const { bytes } of models) worker.postMessage({ model: bytes }, [bytes]);
  if (picture) decode();
}

$("file").addEventListener("change", (event) => {
  open([...event.target.files]);
  event.target.value = ""; // so that the same file can be chosen again
});
for (const type of ["dragenter", "dragover"]) {
  addEventListener(type, (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
}
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  open(event.dataTransfer.files);
});
$("canvas").addEventListener("click", () => $("frame").classList.toggle("actual"));
$("save").addEventListener("click", () => {
  $("canvas").toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = current.name.replace(/(\.intc)?$/, ".png");
    link.click();
    URL.revokeObjectURL(link.href);
  }, "image/png");
});
startWorker();
