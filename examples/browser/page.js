// The page: opens net.onnx (or ?model=another.onnx) and names what is in a chosen image.
import { open } from "./classify.js";

const element = (id) => document.getElementById(id);
const SHOWN = 5;

try {
  const url = new URLSearchParams(location.search).get("model") ?? "net.onnx";
  const network = await open(url);
  element("network").textContent =
    `${url}: ${network.bytes.toLocaleString("en")} bytes, profile ${network.facts.profile}, ` +
    `${network.shape.join(" × ")}, opened (runtime included) in ${network.opened.toFixed(0)} ms.`;
  element("image").addEventListener("change", async ({ target }) => {
    element("error").textContent = "";
    try {
      const picture = await createImageBitmap(target.files[0]);
      const { classes, milliseconds } = await network.classify(picture, element("seen"));
      element("answer").replaceChildren(
        ...classes.slice(0, SHOWN).map(({ name, share }) => row(name, `${(share * 100).toFixed(1)} %`)),
        row("time", `${milliseconds.toFixed(1)} ms`),
      );
    } catch (error) {
      element("error").textContent = `can't classify this file: ${error.message}`;
    }
  });
  element("image").disabled = false;
} catch (error) {
  element("network").textContent = "";
  element("error").textContent = `can't open the network: ${error.message}`;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return made;
}
