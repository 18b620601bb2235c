// Landmarks: spheres in the scene, and a list that moves the crosshair.

// Green, yellow, red, as in the report.
const STOPS = [[94, 201, 178], [253, 204, 92], [240, 80, 60]];
const LOOK = { nodeColormap: "errors", nodeColormapNegative: "", edgeColormap: "white", edgeColormapNegative: "", nodeMinColor: 0, edgeMin: 0, edgeMax: 1, nodeScale: 1, edgeScale: 1, showLegend: false };

function colour(fraction) {
  const [from, to, part] = fraction < 0.5 ? [STOPS[0], STOPS[1], 2 * fraction] : [STOPS[1], STOPS[2], 2 * fraction - 1];
  return from.map((value, i) => Math.round(value + part * (to[i] - value)));
}

export class Landmarks {
  constructor(scene, rows, radius) {
    this.scene = scene;
    this.rows = rows;
    this.radius = radius;
    this.worst = Math.max(...rows.map((row) => row.after), 1e-6);
    const steps = Array.from({ length: 256 }, (_, i) => colour(i / 255));
    const [R, G, B] = [0, 1, 2].map((channel) => steps.map((step) => step[channel]));
    scene.nv.addColormap("errors", { R, G, B, A: R.map(() => 255), I: R.map((_, i) => i) });
    scene.nv.addColormap("white", { R: [255, 255], G: [255, 255], B: [255, 255], A: [255, 255], I: [0, 255] });
    scene.nv.setMeshThicknessOn2D(2 * radius);
  }

  // Over the moving image: mapped fixed points, each with a line to its moving point. Else: the fixed points.
  draw(shown, overMoving) {
    this.overMoving = overMoving;
    if (!shown) return this.scene.showMeshes([]);
    const nodes = this.rows.map((row) => this.node(overMoving ? row.mapped : row.fixed, row.after, this.radius * row.size));
    const main = { ...LOOK, name: "landmarks", nodeMaxColor: this.worst, nodes, edges: [] };
    if (!overMoving) return this.scene.showMeshes([main]);
    const targets = this.rows.map((row) => this.node(row.moving, 1, 0.6 * this.radius * row.size));
    const ends = this.rows.map((row) => this.node(row.moving, 1, 0)); // invisible: `targets` draws them in white
    main.nodes = [...nodes, ...ends];
    main.edges = this.rows.map((_, i) => ({ first: i, second: this.rows.length + i, colorValue: 0.25 * this.radius }));
    const moving = { ...LOOK, name: "moving", nodeColormap: "white", nodeMaxColor: 1, nodes: targets, edges: [] };
    this.scene.showMeshes([main, moving]);
  }

  node([x, y, z], colorValue, sizeValue) {
    return { name: "", x, y, z, colorValue, sizeValue };
  }

  list(element) {
    const worstFirst = [...this.rows].sort((a, b) => b.after - a.after);
    for (const row of worstFirst) {
      const button = document.createElement("button");
      const [dot, name, error] = ["dot", "name", "error"].map((kind) => {
        const part = document.createElement("span");
        part.className = kind;
        return part;
      });
      dot.style.background = `rgb(${colour(row.after / this.worst).join(" ")})`;
      name.textContent = row.id;
      error.textContent = `${row.after.toFixed(2)} mm`;
      button.type = "button";
      button.title = `${row.id}: ${row.after.toFixed(2)} mm, ${row.before.toFixed(2)} mm before`;
      button.append(dot, name, error);
      button.addEventListener("click", () => {
        for (const each of element.querySelectorAll("[aria-current]")) each.removeAttribute("aria-current");
        button.setAttribute("aria-current", "true");
        this.scene.moveTo(this.overMoving ? row.moving : row.fixed);
      });
      const item = document.createElement("li");
      item.append(button);
      element.append(item);
    }
  }
}
