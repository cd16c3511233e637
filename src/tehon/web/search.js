// Leaves the settings whose text has all the words, and their cards; without words all of them. The server is not asked.
export default {
  template: `<component is="style">{{ rules }}</component>`,
  props: { places: Object }, // {name: [card, text in small letters]}
  data: () => ({ rules: "" }),
  methods: {
    search(text) {
      const words = (text || "").toLowerCase().split(/\s+/).filter(Boolean);
      const found = Object.entries(this.places).filter(([, [, all]]) => words.every((word) => all.includes(word)));
      const settings = found.map(([name]) => `.form .setting[data-name="${name}"]`);
      const cards = new Set(found.map(([, [card]]) => `.form .card[data-group="${card}"]`));
      this.rules = !words.length
        ? ""
        : `.form .setting, .form .card { display: none }
           .form .fold > .q-expansion-item__container > .q-item { display: none }
           .form .fold .q-expansion-item__content { display: block !important }
           ${[...settings, ".none"].join(",")} { display: grid } ${[...cards, ".none"].join(",")} { display: block }`;
    },
  },
};
