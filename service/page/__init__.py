"""The web pages: rendered on the server, with htmx for what changes and plotly.js for curves."""
