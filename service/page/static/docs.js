// Shows the API's documentation in the element #swagger-ui, whose data-url is the path of the OpenAPI document.
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: document.querySelector("#swagger-ui").dataset.url,
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
});
