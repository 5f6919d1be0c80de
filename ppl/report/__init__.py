"""Step `report`: tables, figures and the self-contained HTML page."""
