
"use strict";
const root = document.documentElement;
const toggle = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
const say = () => { toggle.textContent = dark() ? "Light theme" : "Dark theme"; };
toggle.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; say(); });
system.addEventListener("change", say);
say();

const zoom = document.getElementById("zoom");
const pairs = [...document.querySelectorAll(".pair")];
let shown = 0;
const button = (text, act) => {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
};
const three = document.createElement("div");
three.className = "three";
const show = (at) => {
  shown = (at + pairs.length) % pairs.length;
  three.replaceChildren(...[...pairs[shown].querySelectorAll("img")].map((image) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = image.alt;
    figure.append(image.cloneNode(), caption);
    return figure;
  }));
  if (!zoom.open) zoom.showModal();
};
zoom.append(button("Close", () => zoom.close()), button("Previous", () => show(shown - 1)), button("Next", () => show(shown + 1)), three);
pairs.forEach((pair, at) => pair.addEventListener("click", () => show(at)));
zoom.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") show(shown + 1);
  if (event.key === "ArrowLeft") show(shown - 1);
});
zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
zoom.addEventListener("close", () => pairs[shown].focus());
