// BentoML serves Swagger UI under static_content/; its own page would ask googletagmanager.com for a script.
window.onload = () => {
  window.ui = SwaggerUIBundle({
    url: "docs.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null, // nothing is sent elsewhere
    presets: [SwaggerUIBundle.presets.apis],
    defaultModelsExpandDepth: 0,
  });
};
