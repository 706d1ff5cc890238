// Shows what an element's data-tip says, at the pointer or below the focus. Arrow keys move along a chart.
(function () {
  var tip = document.getElementById("tip");
  function hide() { tip.style.display = "none"; }
  function show(event) {
    var from = event.target.closest && event.target.closest("[data-tip]");
    if (!from) { hide(); return; }
    tip.textContent = from.getAttribute("data-tip");
    tip.style.display = "block";
    var box = from.getBoundingClientRect(), x = event.clientX || box.left, y = event.clientY || box.bottom;
    tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 4)) + "px";
    tip.style.top = (y + tip.offsetHeight + 20 > innerHeight ? y - tip.offsetHeight - 8 : y + 14) + "px";
  }
  ["pointermove", "pointerdown", "focusin"].forEach(function (name) { document.addEventListener(name, show); });
  ["focusout", "scroll"].forEach(function (name) { document.addEventListener(name, hide); });
  document.addEventListener("keydown", function (event) {
    var at = document.activeElement, step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step || !at || !at.matches("svg [tabindex]")) return;
    var all = Array.from(at.ownerSVGElement.querySelectorAll("[tabindex]")), next = all[all.indexOf(at) + step];
    if (!next) return;
    at.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
    event.preventDefault();
  });
})();
