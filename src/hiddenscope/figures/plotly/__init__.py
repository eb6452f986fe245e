"""The figures as Plotly draws them: plain dictionaries, made without importing Plotly."""
